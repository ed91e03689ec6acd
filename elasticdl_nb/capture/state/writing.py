"""Writes objects by value: a pickler that leaves out code and handles objects that pickle cannot."""

from __future__ import annotations

import contextlib
import copyreg
import enum
import functools
import json
import pickle
import platform
import re
import sys
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from elasticdl_nb.capture.state import kinds, rebuilding
from elasticdl_nb.capture.state.arrays import LARGE
from elasticdl_nb.capture.state.code import CodeWriter

Reduced = Any
"""What `reducer_override` returns."""
_DEEP = 20_000  # nested objects
_STACK = 512 * 2**20  # bytes; the stack of a thread that may go that deep
_CHECKED = {
    "keras",
    "tensorflow",
    "sklearn",
    "pandas",
    "numpy",
    "scipy",
    "torch",
    "transformers",
    "tokenizers",
    "xgboost",
}
_LEAVES = (
    str, bytes, int, float, complex, bool, type(None), type, types.ModuleType, types.FunctionType, range, slice,
    types.BuiltinFunctionType, types.MethodDescriptorType, enum.Enum, re.Pattern,
)  # fmt: skip

_NEW = copyreg.__newobj__  # type: ignore[attr-defined]
_VALUES = (str, bytes, int, float, complex, tuple, frozenset)


class CannotTravel(Exception):
    """An object cannot be moved to another process; `found` is the object, `kind` says what it is."""

    def __init__(self, found: Any, kind: str) -> None:
        super().__init__(kind)
        self.found, self.kind = found, kind


class Counter:
    """A file that keeps only its size."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: Any) -> int:
        """Count the bytes."""
        length = memoryview(data).nbytes
        self.size += length
        return length

    def take(self, buffer: pickle.PickleBuffer) -> bool:
        """Count the memory of an array, which is written by itself."""
        self.write(buffer.raw())
        return False


class Survey:
    """What a dry run of writing an object found.

    `size` is in bytes; `held` are the objects in it that others may share, by id; `modules` are the modules that its
    classes and functions come from.
    """

    def __init__(self, pickler: StatePickler, size: int) -> None:
        self.size = size
        self.modules = pickler.modules
        self.has_keras = pickler.has_keras
        self.kept = pickler.memo.copy()  # id -> (number, object): keeps temporary objects alive
        self.held = {key: found[1] for key, found in self.kept.items() if shareable(found[1])} | pickler.held


class StatePickler(pickle.Pickler):
    """Pickles by value, except for functions and classes, which are written as where their source is.

    `code` decides where that is. `inside` is an object that exists in the packaged module, and its name there: only its
    contents are written. `plan` is the `weights.Plan` for Keras objects. `take` is called with the memory of each
    array, and says whether it belongs in the pickle.
    """

    def __init__(
        self,
        file: Any,
        code: CodeWriter,
        take: Callable[[pickle.PickleBuffer], bool],
        inside: tuple[Any, str] | None = None,
        plan: Any = None,
    ) -> None:
        super().__init__(file, protocol=5, buffer_callback=take)
        self.code, self.inside = code, inside
        self.values: dict[int, Any] = plan.values if plan else {}
        self.initial: dict[int, Any] = plan.initial if plan else {}
        self.tables: set[int] = plan.tables if plan else set()
        self.modules: set[str] = set()
        self.held: dict[int, Any] = {}
        self.alive: list[Any] = []
        self.listed: set[int] = set()  # operations of functional models
        self.last: Any = None
        self.has_keras = False

    def reducer_override(self, value: Any) -> Reduced:
        """Return how to make the object again."""
        self.last = value
        if self.inside is not None and value is self.inside[0]:
            return rebuilding.named, (self.inside[1],)
        if isinstance(value, type):
            return self._note(value, self.code.reduce_class(value, self))
        if isinstance(value, types.FunctionType):
            return self._note(value, self.code.reduce_function(value, self))
        reduce = kinds.reducer_for(type(value))  # type: ignore[arg-type]
        if reduce is not None:
            if shareable(value):
                self.held[id(value)] = value
            return reduce(value, self)
        if type(value) in copyreg.dispatch_table:
            return NotImplemented
        return self._by_its_own_way(value)

    def _note(self, value: Any, reduced: Reduced) -> Reduced:
        if reduced is NotImplemented:
            if value.__module__ is None:
                raise CannotTravel(value, f"{value.__qualname__}, which no module or cell defines (made with exec)")
            if isinstance(value, types.FunctionType) and value.__module__ not in sys.modules:
                raise CannotTravel(
                    value, f"the function {value.__qualname__} of {value.__module__}, which cannot be imported"
                )
            self.modules.add(value.__module__)
        return reduced

    def _by_its_own_way(self, value: Any) -> Reduced:
        reduced = value.__reduce_ex__(5)
        if isinstance(reduced, str):
            dotted = self.code.name_of(value)
            module = getattr(value, "__module__", None)
            if dotted is not None:
                return rebuilding.named, (dotted,)
            if module:
                self.modules.add(module)
            return NotImplemented
        cls = type(value)
        if isinstance(value, _VALUES) and self.code.is_ours(cls) and reduced[0] is _NEW and not hasattr(cls, "_fields"):
            base: Any = next(one for one in _VALUES if isinstance(value, one))
            contents = (reduced[2] if len(reduced) > 2 else None, None, None)
            return rebuilding.make_value, (base, cls, base(value)), contents, None, None, rebuilding.set_plain
        plain = reduced[0] in (copyreg.__newobj__, copyreg._reconstructor)  # type: ignore[attr-defined]
        if plain and (self.code.is_ours(cls) or hasattr(cls, "__getattr__")) and not hasattr(cls, "__setstate__"):
            return past_methods(reduced)
        return reduced


def past_methods(reduced: Any) -> Reduced:
    """Return a reduction that can be undone without calling methods of the object's own class."""
    function, given, *rest = reduced
    state, listed, paired = (*rest, None, None, None)[:3]
    if state is not None and not isinstance(state, (dict, tuple)):
        return reduced
    contents = (state, list(listed) if listed is not None else None, dict(paired) if paired is not None else None)
    return (
        (function, given) if contents == (None,) * 3 else (function, given, contents, None, None, rebuilding.set_plain)
    )


def shareable(value: Any) -> bool:
    """Whether it matters that two holders of the object share it."""
    if isinstance(value, _LEAVES) or (type(value).__module__ == "builtins" and isinstance(value, (tuple, frozenset))):
        return False
    return not kinds.is_constant(value)


def survey(value: Any, code: CodeWriter) -> Survey:
    """Return what writing the object would find; raises CannotTravel."""
    sink = Counter()
    pickler = StatePickler(sink, code, sink.take)
    _dump(pickler, value)
    return Survey(pickler, sink.size)


def write(value: Any, file: BinaryIO, code: CodeWriter, surveys: Iterable[Survey], plan: Any = None) -> None:
    """Write an object, or a tuple of objects, which keep sharing what they share; raises CannotTravel.

    `plan` is what `weights_of` returned for these surveys and others.
    """
    arrays = _Arrays()
    _write(value, file, StatePickler(file, code, arrays.take, plan=plan), surveys, arrays)


def weights_of(surveys: Iterable[Survey], scratch: bool = False) -> Any:
    """Return the `weights.Plan` for all Keras objects that surveys found, or None if there are none."""
    objects = {key: one[1] for found in surveys if found.has_keras for key, one in found.kept.items()}
    if not objects:
        return None
    from elasticdl_nb.capture.state.weights import plan_for

    return plan_for(objects.values(), scratch)


def write_contents(
    value: Any, name: str, others: tuple[Any, ...], file: BinaryIO, code: CodeWriter, surveys: Iterable[Survey]
) -> None:
    """Write the contents of a list, dict, set or object that already exists as `name` when the file is read.

    `others` are written with it, in a tuple, if there are any.
    """
    contents: Any
    if isinstance(value, (list, set)):
        contents = list(value)
    else:
        contents = dict(value) if isinstance(value, dict) else dict(vars(value))
    arrays = _Arrays()
    pickler = StatePickler(file, code, arrays.take, inside=(value, name))
    _write((contents, *others) if others else contents, file, pickler, surveys, arrays)


class _Arrays:
    """The memory of large arrays, which follows the pickle: as part of it, it would be copied."""

    def __init__(self) -> None:
        self.found: list[memoryview] = []

    def take(self, buffer: pickle.PickleBuffer) -> bool:
        memory = buffer.raw()
        if memory.nbytes < LARGE:
            return True
        self.found.append(memory)
        return False

    def write(self, file: BinaryIO) -> None:
        """Write the arrays, then where they are and how long that is; see `reading.arrays_in`."""
        start = file.tell()
        for memory in self.found:
            file.write(memory)
        places = json.dumps([start, *(memory.nbytes for memory in self.found)]).encode()
        file.write(places + len(places).to_bytes(8, "little"))


def _write(value: Any, file: BinaryIO, pickler: StatePickler, surveys: Iterable[Survey], arrays: _Arrays) -> None:
    found = list(surveys)
    header: dict[str, Any] = {"versions": _versions({module for one in found for module in one.modules})}
    header["arrays"] = "at the end"
    if any(one.has_keras for one in found):
        header["names"] = kinds.keras_names()
    file.write(json.dumps(header).encode() + b"\n")
    _dump(pickler, value)
    arrays.write(file)


def _versions(modules: set[str]) -> dict[str, str]:
    tops = {module.partition(".")[0] for module in modules}
    tops |= {"keras", "tensorflow"} if tops & {"keras", "tensorflow"} else set()
    found = {top: getattr(sys.modules.get(top), "__version__", None) for top in sorted(tops & _CHECKED)}
    return {"Python": platform.python_version()} | {top: str(version) for top, version in found.items() if version}


def _dump(pickler: StatePickler, value: Any) -> None:
    """Pickle in a thread whose stack is deep enough for long chains of objects."""
    failure: list[BaseException] = []

    def work() -> None:
        try:
            pickler.dump(value)
        except BaseException as error:
            failure.append(error)

    limit, size = sys.getrecursionlimit(), threading.stack_size(_STACK)
    sys.setrecursionlimit(max(limit, _DEEP))
    try:
        thread = threading.Thread(target=work, name="elasticdl-capture")
        thread.start()
        thread.join()
    finally:
        sys.setrecursionlimit(limit)
        threading.stack_size(size)
    if not failure:
        return
    error = failure[0]
    if isinstance(error, (CannotTravel, KeyboardInterrupt)):
        raise error
    if isinstance(error, RecursionError):
        raise CannotTravel(value, "nested too deeply") from error
    raise CannotTravel(pickler.last, f"a {type(pickler.last).__name__} ({error})") from error


def path_to(root: Any, wanted: Any, name: str, most: int = 20_000) -> str:
    """Return the path from one object to another, such as `cfg.log['file']`; `name` alone if there is none."""
    waiting, seen = [(root, name)], {id(root)}
    for value, path in waiting:
        if value is wanted:
            return path
        for inner, step in _inside(value):
            if id(inner) not in seen and len(seen) < most:
                seen.add(id(inner))
                waiting.append((inner, path + step))
    return name


def _inside(value: Any) -> Iterator[tuple[Any, str]]:
    if isinstance(value, dict):
        yield from ((inner, f"[{key!r}]") for key, inner in list(value.items()))
    elif isinstance(value, (list, tuple)):
        yield from ((inner, f"[{place}]") for place, inner in enumerate(value))
    elif isinstance(value, types.FunctionType):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=False):
            try:
                yield cell.cell_contents, f".<{name}>"
            except ValueError:
                continue
    elif isinstance(value, functools.partial):
        yield from ((inner, f".{name}") for name in ("func", "args", "keywords") for inner in [getattr(value, name)])
    elif not isinstance(value, (type, types.ModuleType)):
        attributes = getattr(value, "__dict__", None) if _has_dict(value) else None
        for name, inner in list(attributes.items()) if isinstance(attributes, dict) else ():
            yield inner, f".{name}"
        for name in copyreg._slotnames(type(value)):  # type: ignore[attr-defined]
            with contextlib.suppress(AttributeError):
                yield object.__getattribute__(value, name), f".{name}"
        if isinstance(value, types.MethodType):
            yield value.__self__, ".__self__"


def _has_dict(value: Any) -> bool:
    try:
        return isinstance(object.__getattribute__(value, "__dict__"), dict)
    except Exception:
        return False


Writer = Callable[[BinaryIO], None]
