"""The functions that files in `state/` call while they are read: each makes one kind of object again.

Their names and parameters are part of the file format: saved packages refer to them.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import inspect
import logging
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any

from elasticdl_nb.capture.state.reading import afterwards, namespaces

CodePath = tuple[tuple[str, int], ...]
"""From a function's code to one nested in it: names, each with its index among those of the same name."""


# ------------------------------------------------------------------ code, by where its source is


def named(dotted: str) -> Any:
    """Return an object of the packaged module by its name."""
    root, *attributes = dotted.split(".")
    found = namespaces.get()[root]
    for attribute in attributes:
        found = inspect.getattr_static(found, attribute) if isinstance(found, type) else getattr(found, attribute)
        found = found.__func__ if isinstance(found, (staticmethod, classmethod)) else found
    return found


def this_module() -> Any:
    """Return the packaged module itself."""
    return importlib.import_module(namespaces.get()["__name__"])


def code_at(owner: Any, path: CodePath) -> types.CodeType:
    """Return the code of a function, or one nested in it."""
    owner = owner.fget if isinstance(owner, property) else owner
    code: types.CodeType = inspect.unwrap(getattr(owner, "__func__", owner)).__code__
    for name, place in path:
        inner = [one for one in code.co_consts if isinstance(one, types.CodeType) and one.co_name == name]
        code = inner[place]
    return code


def make_function(
    module: str | None, owner: str, path: CodePath, name: str, cells: tuple[types.CellType, ...]
) -> types.FunctionType:
    """Make a function whose code is nested in `owner`, in a library's module or in the packaged one."""
    if module is None:
        return types.FunctionType(code_at(named(owner), path), namespaces.get(), name, None, cells)  # type: ignore[arg-type]
    found: Any = importlib.import_module(module)
    scope = vars(found)
    for attribute in owner.split("."):
        found = inspect.getattr_static(found, attribute)
    return types.FunctionType(code_at(found, path), scope, name, None, cells)


def set_function(function: types.FunctionType, state: dict[str, Any]) -> None:
    """Give a function its defaults, attributes and the contents of its cells."""
    for cell, contents in state.pop("cells", ()):
        cell.cell_contents = contents
    vars(function).update(state.pop("attributes", {}))
    for name, value in state.items():
        setattr(function, name, value)


def make_cell() -> types.CellType:
    """Make an empty cell of a closure."""
    return types.CellType()


def make_class(meta: type, name: str, bases: tuple[type, ...], first: dict[str, Any]) -> type:
    """Make a class without its members."""
    first = {"__module__": namespaces.get()["__name__"], **first}
    made: type = types.new_class(name, bases, {"metaclass": meta}, lambda body: body.update(first))
    return made


def set_class(cls: type, members: dict[str, Any]) -> None:
    """Give a class its members."""
    for name, value in members.items():
        if name == "__abstractmethods__":
            continue
        setattr(cls, name, value)
    if "__abstractmethods__" in members:
        cls.__abstractmethods__ = members["__abstractmethods__"]  # type: ignore[attr-defined]


def set_plain(target: Any, contents: tuple[Any, list[Any] | None, dict[Any, Any] | None]) -> None:
    """Give an object its attributes and items, bypassing its own `__setattr__`, `__setitem__`, `append` and so on."""
    state, items, pairs = contents
    plain, slots = state if isinstance(state, tuple) else (state, None)
    if plain:
        target.__dict__.update(plain)
    for name, value in (slots or {}).items():
        object.__setattr__(target, name, value)
    if items is not None:
        (set.update if isinstance(target, set) else list.extend)(target, items)
    if pairs is not None:
        dict.update(target, pairs)


def make_value(base: type, cls: type, value: Any) -> Any:
    """Make a number, text or tuple of a class of one's own without calling its own `__new__`."""
    return base.__new__(cls, value)


def make_exception(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Make an exception without calling its own `__init__`."""
    return cls.__new__(cls, *args)


# ------------------------------------------------------------------ parts of Python that pickle does not support


def make_reference(target: Any) -> weakref.ref[Any]:
    """Make a weak reference; a dead one if `target` is None."""

    class Gone:
        pass

    return weakref.ref(Gone() if target is None else target)


def make_lock(kind: str) -> Any:
    """Make a lock, a condition or an event that nobody holds."""
    return getattr(threading, kind)()


def make_read_only(array: Any) -> Any:
    """Return the array, which can no longer be changed."""
    array.flags.writeable = False
    return array


def make_logger(name: str, level: int) -> logging.Logger:
    """Return the logger of that name; a level that it was given is set, but handlers are those of the process."""
    logger = logging.getLogger(name)
    if level != logging.NOTSET:
        logger.setLevel(level)
    return logger


def set_parser(target: Any, state: dict[str, Any]) -> None:
    """Give an `argparse` object its state. The module compares its constant `SUPPRESS` by identity."""
    for name, value in state.items():
        vars(target)[name] = argparse.SUPPRESS if value == argparse.SUPPRESS else value


def make_cached(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    """Make a cached function with nothing in its cache."""
    return functools.lru_cache(maxsize=maxsize, typed=typed)(function)


def call_method(target: Any, name: str) -> Any:
    """Return the result of a method, such as the keys of a dictionary."""
    return getattr(target, name)()


# ------------------------------------------------------------------ TensorFlow and Keras


def make_variable(value: Any, trainable: bool, name: str, dtype: str) -> Any:
    """Make a tf.Variable."""
    import tensorflow as tf

    return tf.Variable(value, trainable=trainable, name=name, dtype=dtype)


def make_tensor(value: Any, dtype: str) -> Any:
    """Make a tensor."""
    import tensorflow as tf

    return tf.constant(value, dtype=dtype)


def make_table(kind: str, keys: Any, values: Any, default: Any, dtypes: tuple[str, str]) -> Any:
    """Make a tf.lookup table with these keys and values."""
    import tensorflow as tf

    if kind == "StaticHashTable":
        filled = tf.lookup.KeyValueTensorInitializer(keys, values, *dtypes)
        return tf.lookup.StaticHashTable(filled, default)
    table = tf.lookup.experimental.MutableHashTable(*dtypes, default)
    table.insert(tf.constant(keys, dtypes[0]), tf.constant(values, dtypes[1]))
    return table


def make_vocabulary(keys: Any, values: Any, more: int, dtype: str) -> Any:
    """Make a tf.lookup.StaticVocabularyTable, with `more` buckets for keys that are not in it."""
    import tensorflow as tf

    filled = tf.lookup.KeyValueTensorInitializer(keys, values, dtype, tf.int64)
    return tf.lookup.StaticVocabularyTable(filled, more)


def make_graph_function(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    """Make a tf.function."""
    import tensorflow as tf

    return tf.function(function, **options)


def make_generator(state: Any, algorithm: int) -> Any:
    """Make a tf.random.Generator."""
    import tensorflow as tf

    return tf.random.Generator.from_state(state, algorithm)


def make_wrapper(kind: str, wrapped: Any) -> Any:
    """Make one of TensorFlow's container wrappers."""
    from tensorflow.python.trackable import data_structures

    return getattr(data_structures, kind)(wrapped)


def make_keras(cls: type) -> Any:
    """Make a Keras object without its state."""
    return cls.__new__(cls)  # type: ignore[call-overload]


def make_functional(cls: type) -> Any:
    """Make a functional model of one's own class without its state: Keras gives the class another base for that."""
    from keras.src.models.functional import Functional
    from keras.src.models.model import inject_functional_model_class

    if not issubclass(cls, Functional):
        inject_functional_model_class(cls)
    return make_keras(cls)


def make_initial_variable(initializer: Any, shape: tuple[int, ...], dtype: str, trainable: bool, name: str) -> Any:
    """Make the tf.Variable of a large table as its layer made it, or an empty one if the table will be served."""
    import tensorflow as tf

    if _tables_are_served():
        return tf.Variable(tf.zeros((0, *shape[1:]), dtype), trainable=trainable, name=name, shape=(None, *shape[1:]))
    return tf.Variable(initializer(shape, dtype=dtype), trainable=trainable, name=name)


def _tables_are_served() -> bool:
    """Whether large embeddings are kept outside the model here: their `build` says so."""
    import keras

    return bool(keras.layers.Embedding.build.__module__.startswith("elasticdl_nb."))


def set_keras(target: Any, state: dict[str, Any]) -> None:
    """Give a Keras object its state. An embedding with its initial values is built here, where it may be served."""
    served = state.pop("<served>", False)
    vars(target).update(state)
    vars(target).setdefault("_outbound_nodes", [])
    afterwards.get().append(lambda: _renumber(target))
    if served:
        afterwards.get().append(lambda: _build_again(target))


def _build_again(layer: Any) -> None:
    """Build an embedding that has its initial values, if this process keeps its rows outside of the model."""
    if not _tables_are_served():
        return
    from elasticdl_nb.runtime.model.embeddings.served import is_wanted

    name = "_rows" if "_rows" in vars(layer) else "_embeddings"
    variable = vars(layer)[name]
    if variable._value.shape[0] and not is_wanted(layer):
        return
    layer._untrack_variable(variable)
    layer._tracker.unlock()
    if name == "_rows":
        layer._rows = None
    else:
        del vars(layer)[name]
    layer.built = False
    layer.build(None)


def _renumber(target: Any) -> None:
    """Update the ids where Keras stores objects by id."""
    own = vars(target)
    if "_trainable_variables_indices" in own:
        variables = own.get("_trainable_variables") or ()
        target._trainable_variables_indices = {target._var_key(one): place for place, one in enumerate(variables)}
    if "_nodes_by_depth" in own and "_nodes" in own:
        from keras.src.ops.function import make_node_key

        nodes = [node for same in own["_nodes_by_depth"].values() for node in same]
        own["_nodes"] = type(own["_nodes"])(
            make_node_key(node.operation, node.operation._inbound_nodes.index(node)) for node in nodes
        )
    if "_loss_ids" in own:
        own["_loss_ids"] = set()
    tracker = own.get("_tracker")
    if tracker is not None and hasattr(tracker, "stored_ids"):
        tracker.stored_ids = {name: {id(one) for one in store[1]} for name, store in tracker.config.items()}


def set_node(node: Any, state: dict[str, Any]) -> None:
    """Give a node of a functional model its state, and register it with the operations that its inputs come from."""
    vars(node).update(state)
    for tensor in node.arguments.keras_tensors:
        history = getattr(tensor, "_keras_history", None)
        if history is not None and history.operation is not None:
            vars(history.operation).setdefault("_outbound_nodes", []).append(node)


def reserve_names(used: dict[str, int]) -> None:
    """Make Keras continue its numbering of names after those of the notebook."""
    import collections

    from keras.src.backend.common import global_state

    fresh: dict[str, int] = collections.defaultdict(int)
    counts = global_state.get_global_attribute("object_name_uids", default=fresh, set_to_default=True)
    for name, count in used.items():
        counts[name] = max(counts.get(name, 0), count)


def set_tensor(tensor: Any, state: dict[str, Any]) -> None:
    """Give a symbolic tensor its state."""
    state.pop("<operations>", None)
    vars(tensor).update(state)
