"""Records in files: read them, write them, and convert them to other formats.

    from elasticdl_nb import data

    data.recordio.write_file("train.recordio", [b"one", b"two"])
    data.convert("raw/*.csv", "train.parquet")
    reader = data.open_reader("train.parquet")

See docs/data.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elasticdl_nb.runtime.data import reader, recordio
from elasticdl_nb.runtime.data.chunks import FileRecords, Metadata, Records
from elasticdl_nb.runtime.data.convert import ConvertResult, convert
from elasticdl_nb.runtime.data.reader import Reader
from elasticdl_nb.runtime.data.writers import ColumnWriter, open_writer

__all__ = [
    "ColumnWriter",
    "ConvertResult",
    "FileRecords",
    "Metadata",
    "Reader",
    "Records",
    "convert",
    "open_reader",
    "open_writer",
    "recordio",
]


def open_reader(paths: str | Sequence[str], params: Mapping[str, Any] | None = None) -> Reader:
    """Return a reader of these paths, globs, directories and URLs, which must all have the same format.

    `params` are the same as the job option `data_reader_params`. Raises OptionError for paths or parameters that are
    wrong, and DataError for a file that cannot be read.
    """
    return reader.open_reader([paths] if isinstance(paths, str) else paths, params or {})
