"""Describes an object as a flat table of short texts: the same in the notebook and where its package was imported.

One walk covers all kinds of objects. Two processes describe what should be equal; `differences` compares.
"""

from __future__ import annotations

import abc
import copyreg
import dis
import hashlib
import logging
import pathlib
import re
import sys
import types
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

from elasticdl_nb.capture.live import is_generated
from elasticdl_nb.capture.state.arrays import array_of
from elasticdl_nb.capture.state.kinds import is_constant

Description = dict[str, str]

_PLAIN = (bool, int, str, bytes, complex, float, type(None), type(...), range, slice)
_LONG = 64
# Attributes that differ from process to process, or hold what is recomputed when it is needed.
_PASSING = frozenset(
    [
        "stored_ids", "_trainable_variables_indices", "_nodes", "_loss_ids", "_outbound_nodes", "build", "quantize",
        "train_function", "test_function", "predict_function", "history", "_distribution_strategy",
        "_distribute_strategy", "_call_context", "_lock_violation_msg", "_parent_path", "__file__", "__loader__",
        "__cached__", "__spec__", "__firstlineno__", "__static_attributes__", "__dict__", "__weakref__", "_abc_impl",
        "__module__", "__annotations__", "__annotate__", "__doc__", "__qualname__", "__orig_bases__", "__parameters__",
        "_tf_trackable", "_self_unconditional_checkpoint_dependencies", "_self_unconditional_dependency_names",
        "_self_saveable_object_factories", "_self_update_uid", "_self_setattr_tracking", "_self_name_based_restores",
        "_self_unconditional_deferred_dependencies", "__classcell__", "_call_signature", "__dataclass_fields__",
        "_tracker", "tracker", "__abstractmethods__", "__subclasshook__", "__slotnames__", "_initializer",
        "_value2member_map_",
    ]
)  # fmt: skip
_SAME_STEPS = {
    "LOAD_METHOD": "LOAD_ATTR",
    "PRECALL": "",
    "PUSH_NULL": "",
    "EXTENDED_ARG": "",
    "NOP": "",
    "CACHE": "",
    "RESUME": "",
}
_JUMPS = frozenset([*dis.hasjrel, *dis.hasjabs])
_COMPOSED = (types.CodeType, frozenset)
# What to compare first in an object that holds the same things in several forms.
_FIRST = frozenset({"_layers", "layers", "_trainable", "_kernel", "kernel"})
_MOST = 400_000  # entries


class _Walk:
    def __init__(self, ours: frozenset[str]) -> None:
        self.ours = ours
        self.found: Description = {}
        self.first: dict[int, str] = {}
        self.alive: list[Any] = []

    def say(self, path: str, text: str) -> None:
        self.found[path] = text

    def all_of(self, value: Any, path: str) -> None:
        """Describe an object and everything in it; without recursion, as chains of objects can be long."""
        waiting = [(value, path)]
        while waiting and len(self.found) < _MOST:
            inner = list(self.one(*waiting.pop()))
            waiting += reversed(inner)

    def one(self, value: Any, path: str) -> Iterator[tuple[Any, str]]:
        kind = type(value)
        if kind in _PLAIN or isinstance(value, pathlib.PurePath):
            self.say(path, _short(value))
            return
        if kind.__module__ == "IPython.utils.text" and isinstance(value, (list, str)):  # travels as a plain one
            yield list(value) if isinstance(value, list) else str(value), path
            return
        if kind not in (tuple, frozenset) and not is_constant(value):
            if id(value) in self.first:
                self.say(path, f"the same as {self.first[id(value)]}")
                return
            self.first[id(value)] = path
            self.alive.append(value)
        if isinstance(value, types.ModuleType):
            self.say(path, f"module {self.home(value.__name__)}")
        elif isinstance(value, type):
            yield from self.of_class(value, path)
        elif isinstance(value, types.FunctionType):
            yield from self.of_function(value, path)
        else:
            yield from self.of_object(value, path)

    def home(self, module: str | None) -> str:
        return "" if module in self.ours else f"{module}."

    # ------------------------------------------------------------------ code

    def of_class(self, value: type, path: str) -> Iterator[tuple[Any, str]]:
        self.say(path, f"class {self.home(value.__module__)}{value.__qualname__.rpartition('>.')[2]}")
        if value.__module__ not in self.ours:
            return
        self.say(f"{path}.__bases__", ", ".join(_name_of_base(base) for base in value.__bases__))
        if isinstance(value, abc.ABCMeta):
            known = [one() for one in abc._get_dump(value)[0]]  # type: ignore[attr-defined]
            self.say(f"{path}.register", ", ".join(sorted(one.__name__ for one in known if one is not None)))
            left = getattr(value, "__abstractmethods__", ())
            self.say(f"{path}.__abstractmethods__", ", ".join(sorted(left)))
        for name, member in sorted(vars(value).items()):
            if name not in _PASSING and not _is_slot(member) and not _is_cached(member):
                yield member, f"{path}.{name}"

    def of_function(self, value: types.FunctionType, path: str) -> Iterator[tuple[Any, str]]:
        home = value.__globals__.get("__name__") or value.__module__  # `%run` may leave no globals
        if is_generated(value.__code__):
            self.say(path, "code that a library generated")  # it follows from the rest
        elif home not in self.ours:
            self.say(path, f"function {home}.{value.__code__.co_qualname}")
            if "<locals>" not in value.__code__.co_qualname:
                return
        else:
            self.say(path, f"code {code_digest(value.__code__)}")
        for place, default in enumerate(value.__defaults__ or ()):
            yield default, f"{path}.__defaults__[{place}]"
        for name, default in (value.__kwdefaults__ or {}).items():
            yield default, f"{path}.__kwdefaults__[{name!r}]"
        if is_generated(value.__code__):
            return
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=False):
            try:
                if not isinstance(
                    cell.cell_contents, weakref.WeakKeyDictionary
                ):  # what singledispatch has found before
                    yield cell.cell_contents, f"{path}.<{name}>"
            except ValueError:
                continue
        for name, attribute in sorted(vars(value).items()):
            if name not in ("__wrapped__", "registry", "dispatch"):
                yield attribute, f"{path}.{name}"

    # ------------------------------------------------------------------ objects

    def of_object(self, value: Any, path: str) -> Iterator[tuple[Any, str]]:
        kind = type(value)
        name = f"{self.home(kind.__module__)}{kind.__name__}"
        top = kind.__module__.partition(".")[0]
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.ma.MaskedArray):
            self.say(path, name)
            yield from ((numpy.ma.getdata(value), f"{path}.data"), (numpy.ma.getmaskarray(value), f"{path}.mask"))
            return
        array = _as_array(value)
        if array is not None:
            name = "tf.Variable" if top == "tensorflow" and hasattr(value, "assign") else name
            self.say(path, f"{name} of {array.dtype}, {tuple(array.shape)}, {_digest_of_array(array)}{_form(value)}")
            return
        if isinstance(value, logging.Logger):  # configured for the whole process
            self.say(path, f"{name} {value.name}, level {value.level if value.parent else 'of its process'}")
            return
        if kind.__module__ in self.ours and hasattr(kind, "__setstate__") and "__getstate__" in dir(kind):
            self.say(path, name)  # its class says what there is to compare
            yield value.__getstate__(), f"{path}.__getstate__()"
            return
        if isinstance(value, (list, tuple)):
            yield from self.of_sequence(list(value), path, name)
        elif isinstance(value, Mapping) and isinstance(value, dict):
            self.say(path, f"{name} with {len(value)} keys")
            if len(value) > _LONG and all(type(one) in _PLAIN for pair in value.items() for one in pair):
                self.say(f"{path}[…]", _digest(repr(list(value.items())).encode()))
            else:
                for place, (key, item) in enumerate(list(value.items())):
                    shown = repr(key) if type(key) in _PLAIN else f"key {place}"
                    yield item, f"{path}[{shown}]"
                    if type(key) not in _PLAIN:
                        yield key, f"{path}.<key {place}>"
        elif isinstance(value, (set, frozenset)):
            plain = all(type(one) in _PLAIN for one in value)
            self.say(path, f"{name} of {len(value)}" + (f": {_short(sorted(map(repr, value)))}" if plain else ""))
        elif isinstance(value, (staticmethod, classmethod, types.MethodType)):
            self.say(path, name)
            yield value.__func__, f"{path}.__func__"
        elif isinstance(value, property):
            self.say(path, name)
            yield from (
                (one, f"{path}.{part}") for part in ("fget", "fset") if (one := getattr(value, part)) is not None
            )
        elif kind.__module__ == "builtins" or isinstance(value, (weakref.ref, types.CellType)):
            self.say(path, f"{name} {getattr(value, '__qualname__', '')}".strip())
        elif (
            top == "tensorflow" and hasattr(value, "key_dtype") and hasattr(value, "export")
        ):  # a lookup table of TensorFlow
            self.say(path, name)
            keys, values = (one.numpy().tolist() for one in value.export())
            yield dict(sorted(zip(keys, values, strict=True))), f"{path}.export()"
            return
        elif top == "tensorflow" and hasattr(value, "python_function") and hasattr(value, "get_concrete_function"):
            self.say(path, "tf.function")
            yield value.python_function, f"{path}.python_function"
            return
        if isinstance(value, (staticmethod, classmethod, property)) or kind.__module__ == "builtins":
            return
        yield from self.attributes(value, path, name)

    def of_sequence(self, items: list[Any], path: str, name: str) -> Iterator[tuple[Any, str]]:
        self.say(path, f"{name} of {len(items)}")
        if len(items) > _LONG and all(type(one) in _PLAIN for one in items):
            self.say(f"{path}[…]", _digest(repr(items).encode()))
        else:
            yield from ((item, f"{path}[{place}]") for place, item in enumerate(items))

    def attributes(self, value: Any, path: str, name: str) -> Iterator[tuple[Any, str]]:
        if path not in self.found:
            self.say(path, name)
        own = _dict_of(value)
        if own is not None:
            for key, item in sorted(own.items(), key=lambda pair: (pair[0] not in _FIRST, str(pair[0]))):
                if key not in _PASSING and not isinstance(item, (weakref.ref,)):
                    yield item, f"{path}.{key}"
        slots = [one for parent in type(value).__mro__ for one in _slots(parent)]
        for key in slots:
            try:
                yield object.__getattribute__(value, key), f"{path}.{key}"
            except AttributeError:
                continue
        if own is None and not slots and not isinstance(value, (list, tuple, dict, set, frozenset)):
            yield from self.by_reduction(value, path)

    def by_reduction(self, value: Any, path: str) -> Iterator[tuple[Any, str]]:
        """Describe an object implemented in C by what pickle would write."""
        frame = sys.modules.get("pandas")
        if frame is not None and isinstance(value, (frame.DataFrame, frame.Series, frame.Index)):
            return
        try:
            reduce = copyreg.dispatch_table.get(type(value))
            reduced = reduce(value) if reduce else value.__reduce_ex__(2)
        except Exception:
            return
        if isinstance(reduced, str):
            self.say(path, f"{self.found[path]} {reduced}")
            return
        self.alive.append(reduced)
        for place, part in enumerate(reduced[1:3]):
            if isinstance(part, (tuple, dict, list)) or type(part) in _PLAIN:
                yield part, f"{path}.<{'made of' if place == 0 else 'state'}>"


def describe(values: Mapping[str, Any], ours: frozenset[str]) -> Description:
    """Return descriptions of the objects, by paths that begin with their names.

    `ours` are the names of the module that holds the notebook's code here: `__main__`, or the packaged module's.
    """
    walk = _Walk(ours)
    for name, value in values.items():
        try:
            walk.all_of(value, name)
        except RecursionError:
            walk.say(name, "too deep")
    return walk.found


def differences(here: Description, there: Description) -> Iterator[tuple[str, str, str]]:
    """Yield `(path, here, there)` for each entry that differs, '' if it is missing; nothing below a yielded path."""
    reported: list[str] = []
    for path in [*here, *(path for path in there if path not in here)]:
        one, other = here.get(path, ""), there.get(path, "")
        if one != other and not any(path.startswith(before) for before in reported):
            reported.append(path)
            yield path, one, other


def code_digest(code: types.CodeType) -> str:
    """Return a digest of what a function's code does, independent of where it is."""
    total = hashlib.blake2b(digest_size=8)

    def add(one: types.CodeType) -> None:
        total.update(repr((one.co_varnames, one.co_freevars, one.co_flags & 0xFF)).encode())
        for step in dis.get_instructions(one):
            # How a method is called depends on what else was compiled with it, and so do jump distances.
            name = _SAME_STEPS.get(step.opname, step.opname)
            if name:
                told = step.argval if step.opcode not in _JUMPS and not isinstance(step.argval, _COMPOSED) else ""
                total.update(f"{name} {told!r}\n".encode())
        for constant in one.co_consts:
            if isinstance(constant, types.CodeType):
                add(constant)
            elif isinstance(constant, frozenset):
                total.update(repr(sorted(map(repr, constant))).encode())
            else:
                total.update(repr(constant).encode())

    add(code)
    return total.hexdigest()


def _short(value: Any) -> str:
    text = hex(value) if type(value) is int and value.bit_length() > 4096 else repr(value)
    return text if len(text) <= 120 else f"{text[:60]}… {_digest(text.encode())}"


def _digest(data: Any) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _digest_of_array(array: Any) -> str:
    import numpy as np

    if array.dtype.hasobject:
        return _digest(repr(array.tolist()).encode())
    if array.size <= 4:
        return re.sub(r"\s+", " ", repr(array.tolist()))
    return _digest(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def _form(value: Any) -> str:
    """How an array lies in memory, and whether it may change, as far as that is not the usual."""
    flags = value.flags if type(value).__module__ == "numpy" and type(value).__name__ == "ndarray" else None
    if flags is None:
        return ""
    return (", by columns" if flags.fnc else "") + ("" if flags.writeable else ", read-only")


def _as_array(value: Any) -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if isinstance(value, (numpy.ndarray, numpy.generic)):
        return value
    top = type(value).__module__.partition(".")[0]
    if top == "tensorflow" and hasattr(value, "numpy") and hasattr(value, "dtype"):
        try:
            found = array_of(value)
        except Exception:
            return None
        return found if isinstance(found, (numpy.ndarray, numpy.generic)) else numpy.asarray(found)
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series, pandas.Index)):
        return _frame_as_array(value, pandas, numpy)
    return None


def _frame_as_array(value: Any, pandas: Any, numpy: Any) -> Any:
    try:
        hashed = pandas.util.hash_pandas_object(value, index=True).to_numpy()
    except Exception:
        return numpy.asarray([repr(value)], dtype=object)
    about = repr(
        (
            getattr(value, "columns", [getattr(value, "name", "")]),
            getattr(value, "dtypes", value.dtype if hasattr(value, "dtype") else ""),
        )
    )
    return numpy.asarray([_digest(about.encode()), _digest(hashed), str(value.shape)], dtype=object)


def _dict_of(value: Any) -> dict[str, Any] | None:
    try:
        found = object.__getattribute__(value, "__dict__")
    except Exception:
        return None
    return found if isinstance(found, dict) else None


def _slots(cls: type) -> list[str]:
    slots = vars(cls).get("__slots__", ())
    names = [slots] if isinstance(slots, str) else list(slots)
    return [
        name
        for name in names
        if name not in ("__dict__", "__weakref__") and isinstance(vars(cls).get(name), types.MemberDescriptorType)
    ]


def _name_of_base(base: type) -> str:
    # Keras exchanges the base of a class once the class is called with inputs and outputs.
    return "Model" if base.__name__ == "Functional" and base.__module__.startswith("keras.") else base.__name__


def _is_slot(member: Any) -> bool:
    return isinstance(member, (types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType))


def _is_cached(member: Any) -> bool:
    return type(member).__name__ in ("_abc_data", "_tuplegetter")
