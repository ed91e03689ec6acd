"""Values of the notebook's variables as source: exact, short, or not at all."""

from __future__ import annotations

import argparse
import ast
import collections
import datetime
import decimal
import fractions
import functools
import io
import math
import os
import pathlib
import re
import types
from typing import Any

MAX_SOURCE = 256 * 1024  # characters
MAX_ARRAY = 512  # elements

_PLAIN = (bool, int, str, bytes, complex, type(None), type(...))
_DATA_CLASSES = {
    "pandas": {"DataFrame", "Series", "Index", "ExtensionArray", "DataFrameGroupBy", "TextFileReader"},
    "polars": {"DataFrame", "LazyFrame", "Series"},
    "pyarrow": {"_Tabular", "Array", "ChunkedArray", "_PandasConvertible"},
    "numpy": {"ndarray", "NpzFile"},
    "scipy": {"_spbase", "spmatrix"},
    "tensorflow": {"Tensor", "Variable", "DatasetV2", "RaggedTensor", "SparseTensor"},
    "keras": {"Variable"},
    "torch": {"Tensor", "Dataset", "DataLoader"},
    "jax": {"Array"},
    "jaxlib": {"ArrayImpl"},
    "xarray": {"DataArray", "Dataset"},
    "dask": {"DataFrame", "Array"},
    "datasets": {"Dataset", "DatasetDict", "IterableDataset"},
    "duckdb": {"DuckDBPyRelation"},
    "_duckdb": {"DuckDBPyRelation"},
}
_HANDLE_CLASSES = {
    "sqlite3": {"Connection", "Cursor"},
    "socket": {"socket"},
    "_socket": {"socket"},
    "threading": {"Thread"},
    "_thread": {"lock", "RLock"},
    "subprocess": {"Popen"},
    "duckdb": {"DuckDBPyConnection"},
    "_duckdb": {"DuckDBPyConnection"},
    "zipfile": {"ZipFile"},
    "h5py": {"File", "Group", "Dataset"},
}
# Aliases under which a written value names the modules it needs, out of the way of the notebook's own names.
MODULES = {
    "_argparse": "argparse",
    "_collections": "collections",
    "_datetime": "datetime",
    "_decimal": "decimal",
    "_fractions": "fractions",
    "_numpy": "numpy",
    "_pathlib": "pathlib",
    "_types": "types",
}


class NotWritable(Exception):
    """The value has no exact and short source."""


def write_value(value: Any) -> str | None:
    """Return an expression that makes an equal value of the same type, or None; `MODULES` says what its names mean."""
    try:
        text = _write(value, 0)
    except NotWritable:
        return None
    return text if len(text) <= MAX_SOURCE else None


def modules_named(expression: str) -> list[str]:
    """Return the aliases in `MODULES` that a written value uses."""
    return [alias for alias in MODULES if re.search(rf"\b{alias}\.", expression)]


def data_kind(value: Any, depth: int = 2) -> str | None:
    """Name the type of data that `value` is or holds, or None if it is not data."""
    if isinstance(value, type) or (callable(value) and isinstance(value, types.FunctionType)):
        return None
    if _is_a(value, _DATA_CLASSES):
        return type(value).__name__ if write_value(value) is None else None
    if depth and isinstance(value, dict):
        return _held((*value.values(),), depth, type(value).__name__)
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return _held(tuple(value), depth, type(value).__name__)
    return None


def handle_kind(value: Any) -> str | None:
    """Name the type of an open file, connection, generator, … that cannot be made again elsewhere, or None."""
    if isinstance(value, io.IOBase):
        return "an open file"
    if isinstance(value, (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)):
        return "a generator" if isinstance(value, types.GeneratorType) else f"a {type(value).__name__}"
    return f"a {type(value).__name__}" if _is_a(value, _HANDLE_CLASSES) else None


def is_literal_of(node: ast.expr, value: Any) -> bool:
    """Whether the expression is a literal that still spells the live value."""
    try:
        return repr(ast.literal_eval(node)) == repr(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False


def too_large(value: Any) -> bool:
    """Whether a plain value was refused for its length only."""
    return isinstance(value, (str, bytes, list, tuple, dict, set, frozenset)) and len(value) > MAX_SOURCE // 64


def _held(items: tuple[Any, ...], depth: int, kind: str) -> str | None:
    for item in items[:100]:
        held = data_kind(item, depth - 1)
        if held:
            return f"{kind} of {held}"
    return None


def _is_a(value: Any, classes: dict[str, set[str]]) -> bool:
    for parent in type(value).__mro__:
        if parent.__name__ in classes.get(parent.__module__.partition(".")[0], ()):
            return True
    return False


def _write(value: Any, depth: int) -> str:
    kind = type(value)
    if depth > 12 or (hasattr(value, "__len__") and kind in _WRITERS and len(value) > MAX_SOURCE):
        raise NotWritable
    if kind in _PLAIN:
        return "..." if value is ... else repr(value)
    if kind is float:
        return repr(value) if math.isfinite(value) else f"float({str(value)!r})"
    writer = _WRITERS.get(kind)
    if writer is not None:
        return str(writer(value, depth))
    if isinstance(value, pathlib.PurePath):
        return f"_pathlib.{'Path' if isinstance(value, pathlib.Path) else kind.__name__}({os.fspath(value)!r})"
    if kind.__module__.startswith("IPython.") and isinstance(value, (list, str)):  # what `x = !command` gives
        return _write(list(value) if isinstance(value, list) else str(value), depth)
    if kind.__module__ == "numpy" or kind.__module__.startswith("numpy.dtypes"):
        return _write_numpy(value)
    raise NotWritable


def _write_numpy(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    if dtype is None:  # a dtype
        return f"_numpy.dtype({value.str!r})" if value.kind in "biufcSUMm" else _refuse()
    if dtype.kind not in "biufcSUMm" or type(value).__name__ in ("matrix", "recarray"):
        raise NotWritable
    if value.size > MAX_ARRAY:
        raise NotWritable
    plain = value.astype(str) if dtype.kind in "Mm" else value
    if dtype.kind == "m":
        plain = value.astype("int64")
    content = _write(plain.tolist(), 1)
    name = dtype.name if dtype.kind in "biufc" and dtype.isnative else dtype.str
    if value.shape == () and type(value).__name__ != "ndarray":
        if dtype.kind in "biufc" and dtype.isnative:
            return f"_numpy.{type(value).__name__}({content})"
        return f"_numpy.array({content}, dtype={name!r})[()]"
    if value.size == 0:
        return f"_numpy.zeros({value.shape!r}, dtype={name!r})"
    return f"_numpy.array({content}, dtype={name!r})"


def _refuse() -> str:
    raise NotWritable


def _items(opening: str, closing: str, value: Any, depth: int) -> str:
    return opening + ", ".join(_write(item, depth + 1) for item in value) + closing


def _pairs(value: dict[Any, Any], depth: int) -> str:
    return "{" + ", ".join(f"{_write(k, depth + 1)}: {_write(v, depth + 1)}" for k, v in value.items()) + "}"


def _sorted(value: Any) -> list[Any]:
    return sorted(value, key=lambda item: (type(item).__name__, repr(item)))


def _tuple(value: tuple[Any, ...], depth: int) -> str:
    return _items("(", ",)" if len(value) == 1 else ")", value, depth)


def _set(value: set[Any], depth: int) -> str:
    return _items("{", "}", _sorted(value), depth) if value else "set()"


def _defaultdict(value: Any, depth: int) -> str:
    factory = value.default_factory
    if factory not in (list, dict, set, int, float, str, bool, tuple, None):
        raise NotWritable
    name = factory.__name__ if factory else None
    return f"_collections.defaultdict({name}, {_pairs(value, depth)})"


def _namespace(module: str, value: Any, depth: int) -> str:
    if not all(name.isidentifier() for name in vars(value)):
        raise NotWritable
    inside = ", ".join(f"{name}={_write(item, depth + 1)}" for name, item in vars(value).items())
    return f"{module}({inside})"


def _dated(value: Any, depth: int) -> str:
    if getattr(value, "tzinfo", None) not in (None, datetime.UTC):
        raise NotWritable
    return "_" + repr(value)


_WRITERS: dict[type, Any] = {
    list: functools.partial(_items, "[", "]"),
    tuple: _tuple,
    set: _set,
    frozenset: lambda value, depth: f"frozenset({_set(set(value), depth) if value else ''})",
    dict: _pairs,
    range: lambda value, depth: repr(value),
    slice: lambda value, depth: (
        f"slice({_write(value.start, depth)}, {_write(value.stop, depth)}, {_write(value.step, depth)})"
    ),
    bytearray: lambda value, depth: repr(value),
    collections.OrderedDict: lambda value, depth: f"_collections.OrderedDict({_pairs(value, depth)})",
    collections.Counter: lambda value, depth: f"_collections.Counter({_pairs(value, depth)})",
    collections.defaultdict: _defaultdict,
    collections.deque: lambda value, depth: f"_collections.deque({_items('[', ']', value, depth)}, {value.maxlen})",
    types.SimpleNamespace: functools.partial(_namespace, "_types.SimpleNamespace"),
    argparse.Namespace: functools.partial(_namespace, "_argparse.Namespace"),
    datetime.datetime: _dated,
    datetime.date: _dated,
    datetime.time: _dated,
    datetime.timedelta: _dated,
    decimal.Decimal: lambda value, depth: f"_decimal.Decimal({str(value)!r})",
    fractions.Fraction: lambda value, depth: f"_fractions.Fraction({value.numerator}, {value.denominator})",
}
