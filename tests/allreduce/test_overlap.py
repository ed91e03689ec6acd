"""The order in which a step's gradients are computed and sent, and the account of it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from elasticdl_nb.runtime.allreduce.buckets import BUCKET_BYTES, groups, limit_of
from elasticdl_nb.runtime.allreduce.overlap import Exchanged
from elasticdl_nb.runtime.worker.training.hurrying import hurry


def test_what_is_exchanged_before_everything_is_computed_is_hidden() -> None:
    before = Exchanged().with_step([(1.0, 2.0), (2.5, 4.5), (5.0, 5.5)], computed=3.5)
    assert before == Exchanged(exchanging=3.5, hidden=2.0)
    assert before.with_step([(7.0, 8.0)], computed=0.0) == Exchanged(exchanging=4.5, hidden=2.0)


@given(sizes=st.lists(st.integers(4, 3 << 20), min_size=1, max_size=60))
def test_values_are_in_one_bucket_each_and_even_small_models_have_several(sizes: list[int]) -> None:
    limit = limit_of(sum(sizes))
    found = groups(sizes, ["float32"] * len(sizes), limit)
    assert [place for group in found for place in group] == list(reversed(range(len(sizes))))
    assert all(sum(sizes[place] for place in group) <= limit or len(group) == 1 for group in found)
    assert limit <= BUCKET_BYTES
    if sum(sizes) >= 1 << 20 and max(sizes) <= limit:
        assert len(found) >= 4


def pushing(log: list[int], layers: list[Any], *, hurried: list[bool]) -> Any:
    """A function that computes the gradients of these layers, and pushes them one by one."""

    def push(number: int) -> Any:
        return lambda values: log.append(number)

    @tf.function(autograph=False)
    def compute(x: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            for layer in layers:
                x = layer(x, training=True) if isinstance(layer, keras.layers.BatchNormalization) else layer(x)
            loss = tf.reduce_mean(x**2)
        kernels = [layer.kernel for layer in layers if isinstance(layer, keras.layers.Dense)]
        gradients = list(reversed(tape.gradient(loss, kernels)))
        pushes = [tf.numpy_function(push(n), [one], [], name="push") for n, one in enumerate(gradients)]
        if hurried:
            hurried[0] = hurry(loss, pushes)
        return gradients

    return compute


def needs(op: Any, other: Any) -> bool:
    seen, to_do = set(), [op]
    while to_do:
        one = to_do.pop()
        if one is other:
            return True
        if one not in seen:
            seen.add(one)
            to_do += [tensor.op for tensor in one.inputs] + list(one.control_inputs)
    return False


@tf.custom_gradient
def watched(x: tf.Tensor) -> Any:
    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return tf.numpy_function(lambda values: values, [upstream], tf.float32)

    return x, gradient


def both_ways(extra: list[Any]) -> tuple[bool, Any]:
    """Return whether a function could be hurried, and that function, having compared it with one that is not."""
    keras.utils.set_random_seed(3)
    dense = [keras.layers.Dense(size, "tanh") for size in (5, 6, 7)]
    layers = [dense[0], dense[1], *extra, dense[2]]
    x = tf.random.stateless_normal([4, 3], [1, 2])
    for layer in layers:
        x = layer(x)
    x, log, hurried = tf.random.stateless_normal([4, 3], [1, 2]), [], [False]
    one, other = pushing(log, layers, hurried=hurried), pushing([], layers, hurried=[])
    for a, b in zip(one(x), other(x), strict=True):
        np.testing.assert_array_equal(a, b)
    assert log == sorted(log) and len(log) == 3
    return hurried[0], one.get_concrete_function(tf.TensorSpec([4, 3]))


@pytest.mark.parametrize("extra", [[], [keras.layers.BatchNormalization()]])
def test_a_backward_pass_goes_on_once_what_it_has_is_pushed(extra: list[Any]) -> None:
    hurried, function = both_ways(extra)
    assert hurried
    pushes = [op for op in function.graph.get_operations() if op.type in ("PyFunc", "EagerPyFunc")]
    assert len(pushes) == 3 and all(needs(pushes[n + 1].inputs[0].op, pushes[n]) for n in range(2))


def test_a_backward_pass_with_side_effects_keeps_its_order() -> None:
    hurried, _ = both_ways([watched])
    assert not hurried
