"""`from elasticdl.python.data.reader.data_reader_factory import create_data_reader`."""

from __future__ import annotations

from typing import Any

from elasticdl_nb.runtime.errors import ModelError

from ...common.constants import ReaderType
from ..odps_io import is_odps_configured
from .data_reader import AbstractDataReader
from .odps_reader import ODPSDataReader
from .recordio_reader import RecordIODataReader
from .text_reader import TextDataReader

__all__ = ["create_data_reader"]


def create_data_reader(
    data_origin: str, records_per_task: int | None = None, reader_type: str | None = None, **kwargs: Any
) -> AbstractDataReader:
    """Return a reader by `reader_type`, or else by the name: `TextDataReader` for .csv, `RecordIODataReader`.

    Raises ModelError for another type, and for MaxCompute, also where the environment configures it.
    """
    if reader_type is None:
        by_name = ReaderType.CSV_READER if data_origin.endswith(".csv") else ReaderType.RECORDIO_READER
        reader_type = ReaderType.ODPS_READER if is_odps_configured() else by_name
    if reader_type == ReaderType.CSV_READER:
        return TextDataReader(data_origin, records_per_task, **kwargs)
    if reader_type == ReaderType.RECORDIO_READER:
        return RecordIODataReader(data_origin)
    if reader_type == ReaderType.ODPS_READER:
        ODPSDataReader()
    raise ModelError(f"reader_type={reader_type!r}; use 'CSV' or 'RecordIO'")
