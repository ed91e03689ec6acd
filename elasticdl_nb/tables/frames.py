"""pandas, Arrow and Polars frames as Arrow tables, and as the columns that models see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from elasticdl_nb.runtime.errors import OptionError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


def is_frame(value: object) -> bool:
    """Whether the value is a table of columns: a pandas or Polars frame, or Arrow data."""
    return hasattr(value, "__arrow_c_stream__") or _is_lazy(value)


def _is_lazy(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "polars" and hasattr(value, "collect")


def column_names(frame: Any) -> list[str]:
    """Return the names of a frame's columns; of a series, its own."""
    if _is_lazy(frame):
        return list(frame.collect_schema().names())
    if hasattr(frame, "schema") and hasattr(frame.schema, "names") and not callable(frame.schema.names):
        return list(frame.schema.names)  # Arrow's
    return [str(name) for name in getattr(frame, "columns", [getattr(frame, "name", None)])]


def as_columns(frame: Any) -> dict[str, NDArray[Any]]:
    """Return the frame's columns as models see them, [n] each; those of types that models do not see are left out."""
    from elasticdl_nb.runtime.data import columntypes

    table, columns = as_table(frame, "data"), {}
    for name in table.column_names:
        array = table[name].combine_chunks()
        try:
            dtype = columntypes.dtype_of(array.type, array.null_count > 0)
        except TypeError:
            continue
        if not columntypes.is_list(array.type):
            columns[name] = columntypes.to_numpy(columntypes.normalise(array, columntypes.Column(name, dtype)))
    return columns


def as_table(frame: Any, option: str) -> pa.Table:
    """Return the frame as an Arrow table; raise OptionError, which names `option`, for one that cannot be it."""
    import pyarrow as pa

    if _is_lazy(frame):
        frame = frame.collect()
    if type(frame).__module__.partition(".")[0] == "pandas":
        return _from_pandas(frame, option)
    if isinstance(frame, (pa.Array, pa.ChunkedArray)):
        raise OptionError(option, "an Arrow array without a name; give a table, or arrays as in (x, y)")
    # Polars' own conversion produces types that every Parquet reader knows.
    table = frame.to_arrow() if hasattr(frame, "to_arrow") else pa.table(frame)
    check_names(table.column_names, option)
    return table


def check_names(names: Sequence[str], option: str) -> None:
    """Raise OptionError if columns have the same name."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise OptionError(option, f"the frame has several columns named {twice!r}")


def _from_pandas(frame: Any, option: str) -> pa.Table:
    import pyarrow as pa

    if not hasattr(frame, "columns"):
        frame = frame.to_frame()
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    names = [str(name) for name in frame.columns]
    check_names(names, option)
    columns = []
    for place, name in enumerate(names):
        try:
            columns.append(_of_series(frame.iloc[:, place]))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
            raise OptionError(
                option,
                f"column {name!r} of the frame has values that do not go into one column ({error}); convert it, for "
                f"example with frame[{name!r}].astype(str), or leave it out",
            ) from None
    return pa.table(columns, names=names)


def _of_series(series: Any) -> pa.Array:
    """Return a column; of types that only pandas has, periods become dates and intervals texts."""
    import pyarrow as pa

    if hasattr(series, "sparse"):
        series = series.sparse.to_dense()
    array = pa.Array.from_pandas(series)
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if not isinstance(kind, pa.BaseExtensionType):
        return array
    if hasattr(series, "dt"):
        return pa.Array.from_pandas(series.dt.to_timestamp())
    return pa.Array.from_pandas(series.astype(object).map(str, na_action="ignore"), type=pa.string())
