"""Writes objects of TensorFlow and Keras by value. Imported only where TensorFlow is already loaded."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.common.keras_tensor import KerasTensor
from keras.src.models.functional import Functional
from keras.src.ops.node import Node
from keras.src.ops.operation import Operation
from keras.src.saving.keras_saveable import KerasSaveable

from elasticdl_nb.capture.state import rebuilding
from elasticdl_nb.capture.state.arrays import array_of
from elasticdl_nb.capture.state.kinds import Reducer

_COMPILED = ("train_function", "test_function", "predict_function")
_WRAPPERS = ("ListWrapper", "_DictWrapper", "_TupleWrapper", "List", "Mapping")


def reducer_for(cls: type) -> Reducer | None:
    """See `kinds.reducer_for`; for classes of TensorFlow and Keras, and classes derived from them."""
    name = cls.__name__
    if name in ("ListWrapper", "_DictWrapper", "_TupleWrapper"):
        return _wrapper
    if name in ("TrackedList", "TrackedDict", "TrackedSet", "TrackedOrderedDict"):
        return _tracked
    if issubclass(cls, keras.Variable):
        return None
    if issubclass(cls, keras.DTypePolicy):  # one for all layers, without making them share it
        return lambda value, pickler: (rebuilding.make_keras, (cls,), dict(vars(value)))
    if issubclass(cls, tf.Variable) or (name.endswith("Variable") and hasattr(cls, "read_value")):
        return _variable
    if issubclass(cls, tf.Tensor):
        return _tensor
    if name in ("StaticHashTable", "MutableHashTable"):
        return _table
    if name == "StaticVocabularyTable":
        return _vocabulary
    if name in ("DenseHashTable", "KeyValueTensorInitializer", "TextFileInitializer") or name == "ConcreteFunction":
        return _no_value
    if hasattr(cls, "python_function") and hasattr(cls, "get_concrete_function"):
        return _graph_function
    if issubclass(cls, tf.random.Generator):
        return lambda value, pickler: (rebuilding.make_generator, (value.state.numpy(), int(value.algorithm)))
    if issubclass(cls, tf.data.Dataset) or issubclass(cls, tf.distribute.Strategy):
        return _no_value
    if issubclass(cls, KerasTensor):
        return _keras_tensor
    if issubclass(cls, Node):
        return lambda value, pickler: (
            rebuilding.make_keras, (cls,), dict(vars(value)), None, None, rebuilding.set_node,
        )  # fmt: skip
    if issubclass(cls, (KerasSaveable, Operation)):
        return _keras
    return None


class _Default:
    """Stands for the distribution strategy that is in effect where a Keras object is read."""

    def __reduce__(self) -> Any:
        return tf.distribute.get_strategy, ()


def _no_value(value: Any, pickler: Any) -> Any:
    from elasticdl_nb.capture.state.writing import CannotTravel

    kind = "reads data" if isinstance(value, tf.data.Dataset) else "belongs to this process"
    raise CannotTravel(value, f"a {type(value).__name__}, which {kind}")


def _wrapper(value: Any, pickler: Any) -> Any:
    kind = type(value).__name__
    if kind == "ListWrapper":
        return rebuilding.make_wrapper, (kind, []), None, iter(list(value))
    wrapped = value.__wrapped__
    return rebuilding.make_wrapper, (kind, wrapped)


def _tracked(value: Any, pickler: Any) -> Any:
    items = list(value) if isinstance(value, (list, set)) else None
    contents = (vars(value), items, dict(value) if isinstance(value, dict) else None)
    return rebuilding.make_keras, (type(value),), contents, None, None, rebuilding.set_plain


def _variable(value: Any, pickler: Any) -> Any:
    pickler.modules.add("tensorflow")
    name = value.name.partition(":")[0]
    if id(value) in pickler.initial:
        return rebuilding.make_initial_variable, (*pickler.initial[id(value)], value.trainable, name)
    content = pickler.values.get(id(value))
    content = array_of(value) if content is None else content
    pickler.alive.append(content)
    return rebuilding.make_variable, (content, value.trainable, name, value.dtype.name)


def _tensor(value: Any, pickler: Any) -> Any:
    from elasticdl_nb.capture.state.writing import CannotTravel

    if not hasattr(value, "numpy") or value.dtype in (tf.resource, tf.variant):
        raise CannotTravel(value, "a symbolic tensor")
    content = array_of(value)
    pickler.alive.append(content)
    return rebuilding.make_tensor, (content, value.dtype.name)


def _table(value: Any, pickler: Any) -> Any:
    keys, values = value.export()
    default = value._default_value.numpy()
    dtypes = (value.key_dtype.name, value.value_dtype.name)
    return rebuilding.make_table, (type(value).__name__, keys.numpy(), values.numpy(), default, dtypes)


def _vocabulary(value: Any, pickler: Any) -> Any:
    keys, values = value._table.export()
    return rebuilding.make_vocabulary, (keys.numpy(), values.numpy(), value._num_oov_buckets, value.key_dtype.name)


def _graph_function(value: Any, pickler: Any) -> Any:
    dotted = pickler.code.name_of(value)
    if dotted is not None:
        return rebuilding.named, (dotted,)
    options = {
        name: found
        for name in ("input_signature", "autograph", "jit_compile", "reduce_retracing")
        if (found := getattr(value, f"_{name}", None)) is not None
    }
    return rebuilding.make_graph_function, (value.python_function, options)


def _keras_tensor(value: Any, pickler: Any) -> Any:
    history: Any = getattr(value, "_keras_history", None)
    found = history is not None and history.operation is not None
    upstream = _upstream(history.operation, pickler.listed) if found else []
    state = {"<operations>": upstream, **vars(value)} if len(upstream) > 1 else dict(vars(value))
    return rebuilding.make_keras, (type(value),), state, None, None, rebuilding.set_tensor


def _upstream(last: Any, seen: set[int]) -> list[Any]:
    """Every operation that leads to this one, each after those that its inputs come from, except those in `seen`."""
    order: list[Any] = []
    waiting: list[tuple[Any, bool]] = [(last, False)]
    while waiting:
        operation, ready = waiting.pop()
        if ready:
            order.append(operation)
        elif id(operation) not in seen:
            seen.add(id(operation))
            waiting.append((operation, True))
            for node in getattr(operation, "_inbound_nodes", ()):
                for tensor in node.arguments.keras_tensors:
                    history = getattr(tensor, "_keras_history", None)
                    if history is not None and history.operation is not None:
                        waiting.append((history.operation, False))
    return order


def _keras(value: Any, pickler: Any) -> Any:
    """Reduce a Keras object to its class and every attribute, except those that are recomputed."""
    pickler.has_keras = True
    pickler.modules.add("keras")
    state = {}
    # Those that lead to the others come first, so that a chain of a thousand layers is not a thousand nested calls.
    for name in sorted(vars(value), key=lambda name: name not in ("_operations", "_layers")):
        state[name] = vars(value)[name]
    for name in ("build", "quantize"):
        code = getattr(state.get(name), "__code__", None)
        if code is not None and code.co_qualname.startswith("Layer.__new__.<locals>"):
            del state[name]
    state.pop("_outbound_nodes", None)
    for name in _COMPILED:
        if state.get(name) is not None:
            state[name] = None
    state.pop("history", None)
    for name, held in state.items():
        if isinstance(held, tf.distribute.Strategy):
            state[name] = _Default()
    tables = [getattr(state.get(name), "_value", None) for name in ("_embeddings", "_rows")]
    if any(id(table) in pickler.tables for table in tables if table is not None):
        state["<served>"] = True
    is_own = isinstance(value, Functional) and not type(value).__module__.startswith("keras.")
    make = rebuilding.make_functional if is_own else rebuilding.make_keras
    return make, (type(value),), state, None, None, rebuilding.set_keras
