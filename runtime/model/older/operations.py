"""TensorFlow's functions on the inputs of a functional model, as in Keras 2: `tf.reduce_sum(keras.Input((3,)), 1)`.

A function that gets a `KerasTensor`, also within a list or a dict, becomes an operation of the model. TensorFlow asks
its dispatchers when a function refuses its arguments. `WRAPPED` lists functions that do not ask them.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from types import FunctionType
from typing import Any

import keras
import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError

WRAPPED = (
    "foldl", "foldr", "map_fn", "scan", "vectorized_map", "sparse.from_dense", "sparse.to_dense", "strings.split",
    "strings.bytes_split", "strings.unicode_split", "ragged.boolean_mask", "RaggedTensor.from_tensor",
)  # fmt: skip
"""Functions of `tf` that fail on Keras inputs in a way that TensorFlow's dispatchers never see."""

# They answer about a tensor, or take no tensors, and work as they are.
_QUERIES = (
    "batch_get_value", "batch_set_value", "count_params", "dtype", "eval", "get_value", "gradients", "int_shape",
    "is_sparse", "name_scope", "ndim", "set_value", "shape", "variable",
)  # fmt: skip
_BACKEND = "keras.backend."


@keras.saving.register_keras_serializable(package="elasticdl_nb")
class TensorFlowOperation(keras.Operation):  # type: ignore[misc]
    """A call of one of TensorFlow's functions in a functional model; `function` is its public name without `tf.`."""

    def __init__(self, function: str | Callable[..., Any], name: str | None = None) -> None:
        super().__init__(name=name)
        self._function = _find(function) if isinstance(function, str) else function

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self._function(*args, **kwargs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Return the form of the outputs."""
        return keras.src.backend.compute_output_spec(self._function, *args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Return the function's public name; raises ModelError if it has none."""
        return {"function": self._public_name(), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TensorFlowOperation:
        """Make the operation that `get_config` describes."""
        return cls(config["function"], name=config["name"])

    def _public_name(self) -> str:
        name = _public_name(self._function)
        if name is None:
            raise ModelError(
                f"the operation {self.name} has no public name in TensorFlow, so the model cannot be saved; put it "
                "into a layer"
            )
        return name


def install() -> None:
    """Register the dispatcher, and wrap the functions that do not ask it."""
    _Dispatcher().register()
    for name in WRAPPED:
        owner, _, last = name.rpartition(".")
        holder: Any = functools.reduce(getattr, owner.split(".") if owner else [], tf)
        wrapped = _dispatching(getattr(holder, last), name)
        setattr(holder, last, staticmethod(wrapped) if isinstance(holder, type) else wrapped)
    for backend in keras_modules("backend"):
        for name, function in list(vars(backend).items()):
            dropped = isinstance(function, FunctionType) and function.__module__ == "keras.src.legacy.backend"
            if dropped and name not in _QUERIES:
                setattr(backend, name, _dispatching(function, f"{_BACKEND}{name}"))
        backend.set_value = _set_value
    _mark_products_right()
    # Code for Keras 2 asks its tensors for this.
    keras.KerasTensor.get_shape = lambda tensor: tf.TensorShape(tensor.shape)


def keras_modules(part: str) -> list[Any]:
    """Return the modules that are `tf.keras.PART`, for the three parts that change here.

    There are two of each: `import tensorflow.keras.layers` makes another one than `tf.keras.layers` is before.
    """
    load = importlib.import_module
    modules = {
        "backend": [load("keras._tf_keras.keras.backend"), load("tensorflow.keras.backend")],
        "layers": [load("keras._tf_keras.keras.layers"), load("tensorflow.keras.layers")],
        "optimizers.legacy": [
            load("keras._tf_keras.keras.optimizers.legacy"), load("tensorflow.keras.optimizers.legacy")
        ],
    }  # fmt: skip
    return modules[part]


def _set_value(x: Any, value: Any) -> None:
    """Give a variable a value: Keras 3's function does not work on its own variables."""
    x.assign(value)


def is_symbolic(*values: Any) -> bool:
    """Whether one of the values is an input or an intermediate result of a functional model, or holds one."""
    return any(isinstance(value, keras.KerasTensor) for value in keras.tree.flatten(values))


def _mark_products_right() -> None:
    """Let `0.5 * x` be sparse only if x is: Keras 3.15 always says it is, and TensorFlow takes it at its word."""
    product = keras.src.ops.numpy.Multiply
    original = product.compute_output_spec

    @functools.wraps(original)
    def compute_output_spec(operation: Any, x1: Any, x2: Any) -> keras.KerasTensor:
        spec = original(operation, x1, x2)
        sparse = spec.sparse and any(getattr(factor, "sparse", False) for factor in (x1, x2))
        return keras.KerasTensor(spec.shape, spec.dtype, sparse=sparse)

    product.compute_output_spec = compute_output_spec


class _Dispatcher(tf.__internal__.dispatch.GlobalOpDispatcher):  # type: ignore[misc]
    def handle(self, op: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        return _add(op, args, kwargs) if is_symbolic(args, kwargs) else self.NOT_SUPPORTED


def _add(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Add a call to the model; raises ModelError for a variable that would not be trained."""
    for value in keras.tree.flatten((args, kwargs)):
        if isinstance(value, tf.Variable) and value.trainable:
            raise ModelError(
                f"tf.{_public_name(function)} gets the variable {value.name} outside of a layer, where it would not be "
                "trained; make it a weight of a layer"
            )
    return TensorFlowOperation(function)(*args, **kwargs)


def _dispatching(function: Any, name: str) -> Any:
    # `wraps` copies the module's name too, by which AutoGraph sees that this is not user code.
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return _add(function, args, kwargs) if is_symbolic(args, kwargs) else function(*args, **kwargs)

    function.__dict__.setdefault("_elasticdl_name", name)
    return call


def _public_name(function: Any) -> str | None:
    known = getattr(function, "_elasticdl_name", None)
    if known is not None:
        return str(known)
    holders = [getattr(function, "_tf_decorator", function), getattr(function, "__wrapped__", function)]
    # A function can hand its arguments to one of TensorFlow 1, which is then asked.
    for attribute, prefix in (("_tf_api_names", ""), ("_tf_api_names_v1", "compat.v1.")):
        for holder in holders:
            for name in getattr(holder, attribute, None) or ():
                if _find(f"{prefix}{name}", None) is not None:
                    return f"{prefix}{name}"
    return None


def _find(name: str, *default: Any) -> Any:
    """The function of TensorFlow with that name below `tf`, and nothing else: names come from saved models."""
    if any(part.startswith("_") for part in name.split(".")):
        raise ModelError(f"{name!r} is not a function of TensorFlow")
    value: Any = tf
    for part in name.split("."):
        value = getattr(value, part, None)
    if callable(value):
        return getattr(value, "__wrapped__", value) if name.startswith(_BACKEND) or name in WRAPPED else value
    if default:
        return default[0]
    raise ModelError(f"{name!r} is not a function of TensorFlow")
