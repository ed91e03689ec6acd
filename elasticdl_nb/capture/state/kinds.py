"""How to make objects again that pickle does not accept, or not without losing something."""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import functools
import io
import logging
import struct
import sys
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any

from elasticdl_nb.capture.state import rebuilding

Reducer = Callable[[Any, Any], Any]
_LOCKS = {type(threading.Lock()): "Lock", type(threading.RLock()): "RLock"}
# Classes whose objects cannot travel, by module and name.
HANDLES = {
    "sqlite3": {"Connection", "Cursor"},
    "socket": {"socket"},
    "_socket": {"socket"},
    "threading": {"Thread"},
    "subprocess": {"Popen"},
    "duckdb": {"DuckDBPyConnection"},
    "_duckdb": {"DuckDBPyConnection"},
    "zipfile": {"ZipFile"},
    "h5py": {"File", "Group", "Dataset"},
}
DATASETS = {
    "tensorflow": {"DatasetV2", "OwnedIterator"},
    "torch": {"DataLoader"},
    "dask": {"DataFrame", "Array"},
    "duckdb": {"DuckDBPyRelation"},
    "_duckdb": {"DuckDBPyRelation"},
    "pandas": {"TextFileReader"},
}
# Objects of these classes never change, and libraries give the same one to many holders.
_CONSTANT_CLASSES = frozenset({"DType", "TensorShape", "DTypePolicy", "FloatDTypePolicy", "KerasHistory", "TensorSpec"})


@functools.cache
def reducer_for(cls: type) -> Reducer | None:
    """Return how to make objects of a class again, or None for pickle's own way."""
    if cls in _LOCKS:
        return lambda value, pickler: (rebuilding.make_lock, (_LOCKS[cls],))
    if cls.__module__ == "numpy" and cls.__name__ in ("finfo", "iinfo"):
        return lambda value, pickler: (cls, (value.dtype,))
    if cls.__module__ == "numpy" and cls.__name__ == "ndarray":
        return _array
    for parent in cls.__mro__:
        top = parent.__module__.partition(".")[0]
        if top in ("keras", "tensorflow"):
            from elasticdl_nb.capture.state import tensors

            found = tensors.reducer_for(cls)
            if found is not None:
                return found
            break
    if kind := handle_kind_of(cls):
        return lambda value, pickler: _cannot(value, kind)
    for base, reduce in _REDUCERS.items():
        if issubclass(cls, base):
            return reduce
    return None


def handle_kind_of(cls: type) -> str | None:
    """Say what objects of a class are if they are tied to this process or read data; None if they are not."""
    if issubclass(cls, io.IOBase) and not issubclass(cls, (io.BytesIO, io.StringIO)):
        return "an open file"
    if issubclass(cls, (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)):
        return "a generator" if cls is types.GeneratorType else f"a {cls.__name__}"
    if issubclass(cls, (asyncio.Task, asyncio.Future, types.FrameType)):
        return f"a {cls.__name__}"
    for parent in cls.__mro__:
        top = parent.__module__.partition(".")[0]
        if parent.__name__ == "InteractiveShell" and top == "IPython":
            return "the notebook's own shell, which exists in notebooks only"
        if parent.__name__ in HANDLES.get(top, ()):
            return f"a {cls.__name__}"
        if parent.__name__ in DATASETS.get(top, ()):
            return f"a {cls.__name__}, which reads data"
    return None


def is_constant(value: Any) -> bool:
    """Whether it makes no difference if two holders of an object share it or have one each."""
    kind = type(value)
    return kind.__name__ in _CONSTANT_CLASSES or kind.__module__ == "numpy.dtypes"


def keras_names() -> dict[str, int]:
    """How often Keras has used each name for an object; it makes the next names from these counts."""
    module = sys.modules.get("keras.src.backend.common.global_state")
    return dict(module.get_global_attribute("object_name_uids", default={}) or {}) if module else {}


def _cannot(value: Any, kind: str) -> Any:
    from elasticdl_nb.capture.state.writing import CannotTravel

    raise CannotTravel(value, kind)


def _array(value: Any, pickler: Any) -> Any:
    if value.flags.writeable or (value.flags.forc and not value.dtype.hasobject):  # pickle's own way keeps all there is
        return NotImplemented
    content = value.copy()
    pickler.alive.append(content)
    return rebuilding.make_read_only, (content,)


def _logger(value: logging.Logger, pickler: Any) -> Any:
    return rebuilding.make_logger, (value.name, value.level if value.parent else logging.NOTSET)


def _module(value: types.ModuleType, pickler: Any) -> Any:
    if value.__name__ == "__main__":
        return rebuilding.this_module, ()
    if sys.modules.get(value.__name__) is not value:
        _cannot(value, f"the module {value.__name__}, which cannot be imported")
    pickler.modules.add(value.__name__)
    return __import__("importlib").import_module, (value.__name__,)


def _weak(value: Any, pickler: Any) -> Any:
    return rebuilding.make_reference, (value(),)


def _method(value: types.MethodType, pickler: Any) -> Any:
    return types.MethodType, (value.__func__, value.__self__)


def _property(value: property, pickler: Any) -> Any:
    return property, (value.fget, value.fset, value.fdel, value.__doc__)


def _view(value: Any, pickler: Any) -> Any:
    return rebuilding.call_method, (value.mapping.copy(), type(value).__name__.removeprefix("dict_"))


def _cached(value: Any, pickler: Any) -> Any:
    dotted = pickler.code.name_of(value)
    if dotted is not None:
        return rebuilding.named, (dotted,)
    if getattr(value, "__module__", None) != "__main__":
        return NotImplemented
    options = value.cache_parameters()
    return rebuilding.make_cached, (value.__wrapped__, options["maxsize"], options["typed"])


def _future(value: concurrent.futures.Future[Any], pickler: Any) -> Any:
    return NotImplemented if value.done() else _cannot(value, f"a {type(value).__name__} that has no result yet")


def _parser(value: Any, pickler: Any) -> Any:
    return rebuilding.make_keras, (type(value),), dict(vars(value)), None, None, rebuilding.set_parser


def _exception(value: BaseException, pickler: Any) -> Any:
    if not pickler.code.is_ours(type(value)):
        return NotImplemented
    return (
        rebuilding.make_exception,
        (type(value), value.args),
        (dict(vars(value)), None, None),
        None,
        None,
        rebuilding.set_plain,
    )


_REDUCERS: dict[Any, Reducer] = {
    types.ModuleType: _module,
    logging.Logger: _logger,
    argparse.Action: _parser,
    argparse.ArgumentParser: _parser,
    concurrent.futures.Future: _future,
    BaseException: _exception,
    types.CellType: lambda value, pickler: (rebuilding.make_cell, ()),
    types.MethodType: _method,
    staticmethod: lambda value, pickler: (staticmethod, (value.__func__,)),
    classmethod: lambda value, pickler: (classmethod, (value.__func__,)),
    property: _property,
    types.MappingProxyType: lambda value, pickler: (types.MappingProxyType, (dict(value),)),
    struct.Struct: lambda value, pickler: (struct.Struct, (value.format,)),
    threading.local: lambda value, pickler: (type(value), ()),
    weakref.ref: _weak,
    weakref.WeakSet: lambda value, pickler: (weakref.WeakSet, (list(value),)),
    weakref.WeakKeyDictionary: lambda value, pickler: (weakref.WeakKeyDictionary, (dict(value),)),
    weakref.WeakValueDictionary: lambda value, pickler: (weakref.WeakValueDictionary, (dict(value),)),
    type({}.keys()): _view,
    type({}.values()): _view,
    type({}.items()): _view,
    functools._lru_cache_wrapper: _cached,
}
