"""PostgreSQL through ADBC: rows arrive as Arrow batches, made in C."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from elasticdl_nb.sql.language.errors import SqlError


def is_installed() -> bool:
    """Whether the driver is installed."""
    return importlib.util.find_spec("adbc_driver_postgresql") is not None


def stream(url: str, label: str, query: str) -> pa.RecordBatchReader:
    """Return the query's rows in batches, read on a separate connection that closes after the last one."""
    from adbc_driver_manager import dbapi as manager
    from adbc_driver_postgresql import dbapi

    scheme, _, rest = url.partition("://")
    try:
        connection = dbapi.connect(f"{scheme.partition('+')[0]}://{rest}")
    except manager.Error as error:
        raise SqlError(f"{label}: {_message(error)}") from None
    try:
        cursor = connection.cursor()
        cursor.execute(query)
        reader = cursor.fetch_record_batch()
    except manager.Error as error:
        connection.close()
        raise SqlError(f"{label}: {_message(error)}") from None
    schema = pa.schema([pa.field(field.name, _plain(field.type)) for field in reader.schema])

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            with connection, cursor:
                for batch in reader:
                    arrays = [_column(column) for column in batch.columns]
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        except (manager.Error, pa.ArrowException) as error:
            raise SqlError(f"{label}: {_message(error)}") from None

    return pa.RecordBatchReader.from_batches(schema, batches())


def _plain(kind: pa.DataType) -> pa.DataType:
    """The storage type of types that Arrow does not know, such as PostgreSQL's enumerations."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _column(array: Any) -> pa.Array:
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _message(error: Exception) -> str:
    return " ".join(str(error).split())
