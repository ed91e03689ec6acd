"""The user's own loss function as a Keras loss.

Such a function gets the labels and outputs as the input function and the model return them: all outputs at once,
integers as integers, with NumPy's `flatten()`. Keras would call it once for each output, with everything cast.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.losses.loss import reduce_weighted_values, squeeze_or_expand_to_same_rank

from elasticdl_nb.runtime.model.loading.calls import outputs_first

_patch_lock = threading.Lock()
_patched = 0


@contextlib.contextmanager
def flattening() -> Iterator[None]:
    """Give tensors NumPy's `flatten()` within the block, for losses written as in ElasticDL's guide."""
    global _patched
    with _patch_lock:
        _patched += 1
        if _patched == 1:
            tf.Tensor.flatten = _flatten
    try:
        yield
    finally:
        with _patch_lock:
            _patched -= 1
            if _patched == 0:
                del tf.Tensor.flatten


def _flatten(tensor: Any) -> Any:
    return tf.reshape(tensor, [-1])


Form = Callable[[Any, Any], tuple[Any, Any]]


class FunctionLoss(keras.losses.Loss):  # type: ignore[misc]
    """The mean of what a user's function returns for labels and outputs, a value per record or a scalar.

    Where labels of shape [n] meet outputs of shape [n, 1], a function that would compare every label with every output
    gets them in the same shape, as Keras gives them. Labels that the function cannot use as they are come as floats.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(name=getattr(function, "__name__", "loss"))
        self._function = function
        self._form: Form | None = None
        self.metrics: list[Any] = []
        """For Keras, which asks its own compiled losses for those."""

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the loss of a batch as a scalar, weighted and masked as Keras does."""
        mask = getattr(y_pred, "_keras_mask", None)
        if self._form is None:
            self._form = self._suitable_form(y_true, y_pred)
        values = self._call(*self._form(y_true, y_pred))
        return reduce_weighted_values(
            values, sample_weight=sample_weight, mask=mask, reduction=self.reduction, dtype=self.dtype
        )

    def _call(self, y_true: Any, y_pred: Any) -> Any:
        with flattening():
            if outputs_first(self._function, default=False):
                return self._function(y_pred, y_true)
            return self._function(y_true, y_pred)

    def _suitable_form(self, y_true: Any, y_pred: Any) -> Form:
        """The first form with which the function works, and compares each label with its own output only."""
        forms: list[Form] = [_as_given, _same_rank, _floats]
        with tf.init_scope():
            specs = tf.nest.map_structure(_spec, (y_true, y_pred))
            working = [form for form in forms if self._works(form, specs)]
            if len(working) > 1 and _ranks_differ(*specs):
                paired = [form for form in working if self._pairs(form, specs)]
                return (paired or working)[0]
        return (working or forms)[0]

    def _works(self, form: Form, specs: Any) -> bool:
        try:
            self._traced(form, specs)
        except Exception:  # whatever the user's code raises: it is raised again where the loss is used
            return False
        return True

    def _traced(self, form: Form, specs: Any) -> Any:
        mean = tf.function(lambda y_true, y_pred: _mean(self._call(*form(y_true, y_pred))), autograph=False)
        return mean.get_concrete_function(*specs)

    def _pairs(self, form: Form, specs: Any) -> bool:
        """Whether the loss changes when the labels change places: it does not if all are compared with all."""
        random = np.random.default_rng(0)
        labels, outputs = tf.nest.map_structure(lambda spec: _sample(spec, random), specs)
        moved = tf.nest.map_structure(lambda values: tf.roll(values, 1, axis=0), labels)
        traced = self._traced(form, specs)
        try:
            return not np.allclose(traced(labels, outputs), traced(moved, outputs), rtol=1e-6)
        except Exception:  # the function does not accept random values
            return False


def _as_given(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Only the precision of floating-point numbers changes, as with Keras."""
    return tf.nest.map_structure(_precise, y_true), tf.nest.map_structure(_precise, y_pred)


def _same_rank(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    y_true, y_pred = _as_given(y_true, y_pred)
    if tf.nest.is_nested(y_true) or tf.nest.is_nested(y_pred):
        return y_true, y_pred
    y_true, y_pred = squeeze_or_expand_to_same_rank(y_true, y_pred)
    return y_true, y_pred


def _floats(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    return _same_rank(tf.nest.map_structure(lambda one: tf.cast(one, keras.config.floatx()), y_true), y_pred)


def _precise(values: Any) -> Any:
    values = tf.convert_to_tensor(values) if not isinstance(values, (tf.SparseTensor, tf.RaggedTensor)) else values
    return tf.cast(values, keras.config.floatx()) if values.dtype.is_floating else values


def _mean(values: Any) -> tf.Tensor:
    return tf.reduce_mean(tf.cast(values, tf.float32))


def _spec(values: Any) -> Any:
    if isinstance(values, (tf.SparseTensor, tf.RaggedTensor)):
        return tf.type_spec_from_value(values)
    values = tf.convert_to_tensor(values)
    shape = values.shape.as_list() if values.shape.rank is not None else None
    return tf.TensorSpec(shape if not shape else [None, *shape[1:]], values.dtype)


def _ranks_differ(y_true: Any, y_pred: Any) -> bool:
    """Whether one of them is [n] or [n, …] and the other [n, 1] or [n, …, 1]."""
    if tf.nest.is_nested(y_true) or tf.nest.is_nested(y_pred) or None in (y_true.shape.rank, y_pred.shape.rank):
        return False
    shorter, longer = sorted((y_true.shape, y_pred.shape), key=lambda shape: shape.rank)
    return bool(longer.rank == shorter.rank + 1 and longer[-1] == 1)


def _sample(spec: Any, random: np.random.Generator) -> tf.Tensor:
    shape = [size or (5 if place == 0 else 3) for place, size in enumerate(spec.shape)]
    numbers = random.uniform(0.1, 0.9, shape) if spec.dtype.is_floating else random.integers(0, 2, shape)
    return tf.cast(tf.constant(numbers), spec.dtype)
