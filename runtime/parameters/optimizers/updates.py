"""The arithmetic of optimizers: how one weight, its gradient and its slots become the new weight and slots.

A formula works on scalars and on arrays alike. numba compiles it into a loop over rows (in this file, so that numba's
cache notices a change); without numba it is applied to gathered arrays. All values are float32, and every operation is
written in Keras' order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from elasticdl_nb.runtime.compiled import ENABLED, compiled, plain
from elasticdl_nb.runtime.parameters.arrays import Array, Rows
from elasticdl_nb.runtime.parameters.rows.prefetch import touch_later

Constants = tuple[np.float32, ...]
Apart = bool | None
"""For loops: None if the weights of row r are in row r, and True if they are where its gradient is.

For each of the two types, the compiler leaves out what is not for it.
"""


@dataclass(frozen=True)
class Update:
    """A formula, and the loop that applies it to rows in place.

    `formula(weight, gradient, size, *slots, constants)` returns the new weight, then the new slots; `size` is what the
    optimizer takes as the gradient's size, its square or absolute value, if it needs any. `formula` and `loop` are
    called through `apply`.
    """

    formula: Callable[..., Any]
    loop: Callable[..., None]
    size: Callable[[Array], Array] | None = np.square

    def apply(
        self, weights: Array, slots: Sequence[Array], rows: Rows, gradients: Array, constants: Constants,
        sizes: Array | None = None, *, apart: bool = False,
    ) -> None:  # fmt: skip
        """Update the given rows, all distinct, of `weights` and `slots` (each [capacity, dim]); gradients [n, dim].

        Each gradient may be a sum of several; `sizes` [n, dim] are then the sums of their sizes. With `apart`,
        `weights` are those of the given rows alone, [n, dim].
        """
        if ENABLED and sizes is None:
            self.loop(rows, apart or None, gradients, weights, *slots, constants)
        else:
            self.apply_plain(weights, slots, rows, gradients, constants, sizes, apart=apart)

    def apply_plain(
        self, weights: Array, slots: Sequence[Array], rows: Rows, gradients: Array, constants: Constants,
        sizes: Array | None = None, *, apart: bool = False,
    ) -> None:  # fmt: skip
        """Do what `apply` does, with NumPy."""
        arrays = (weights, *slots)
        places = (slice(None) if apart else rows, *(rows for _ in slots))
        values = [array[place] for array, place in zip(arrays, places, strict=True)]
        if sizes is None:
            sizes = gradients if self.size is None else self.size(gradients)
        with np.errstate(all="ignore"):
            results = plain(self.formula)(values[0], gradients, sizes, *values[1:], constants)
        results = results if isinstance(results, tuple) else (results,)
        for array, place, result in zip(arrays, places, results, strict=True):
            array[place] = result


# ------------------------------------------------------------ formulas: w weight, g gradient, s its size, k constants


@compiled
def decay(w: Any, g: Any, s: Any, k: Any) -> Any:
    """Weight decay; the gradient does not matter. k: weight decay, learning rate."""
    return w - w * k[0] * k[1]


@compiled
def sgd(w: Any, g: Any, s: Any, k: Any) -> Any:
    """k: learning rate."""
    return w - g * k[0]


@compiled
def momentum(w: Any, g: Any, s: Any, m: Any, k: Any) -> Any:
    """k: learning rate, momentum."""
    m = m * k[1] - g * k[0]
    return w + m, m


@compiled
def nesterov(w: Any, g: Any, s: Any, m: Any, k: Any) -> Any:
    """k: learning rate, momentum."""
    m = m * k[1] - g * k[0]
    return w + (m * k[1] - g * k[0]), m


@compiled
def adagrad(w: Any, g: Any, s: Any, a: Any, k: Any) -> Any:
    """k: learning rate, epsilon."""
    a = a + s
    return w - k[0] * g / np.sqrt(a + k[1]), a


@compiled
def adam(w: Any, g: Any, s: Any, m: Any, v: Any, k: Any) -> Any:
    """k: corrected learning rate, 1 - beta_1, 1 - beta_2, epsilon."""
    m = m + (g - m) * k[1]
    v = v + (s - v) * k[2]
    return w - m * k[0] / (np.sqrt(v) + k[3]), m, v


@compiled
def amsgrad(w: Any, g: Any, s: Any, m: Any, v: Any, h: Any, k: Any) -> Any:
    """k: corrected learning rate, 1 - beta_1, 1 - beta_2, epsilon."""
    m = m + (g - m) * k[1]
    v = v + (s - v) * k[2]
    h = np.maximum(h, v)
    return w - m * k[0] / (np.sqrt(h) + k[3]), m, v, h


@compiled
def adamax(w: Any, g: Any, s: Any, m: Any, u: Any, k: Any) -> Any:
    """Here s is the gradient's absolute value. k: learning rate, 1 - beta_1, beta_2, 1 - beta_1^t, epsilon."""
    m = m + (g - m) * k[1]
    u = np.maximum(k[2] * u, s)
    return w - k[0] * m / (k[3] * (u + k[4])), m, u


@compiled
def nadam(w: Any, g: Any, s: Any, m: Any, v: Any, k: Any) -> Any:
    """k: learning rate, 1 - beta_1, 1 - beta_2, u_next, 1 - product_next, 1 - u, 1 - product, 1 - beta_2^t, epsilon."""
    m = m + (g - m) * k[1]
    v = v + (s - v) * k[2]
    mean = k[3] * m / k[4] + k[5] * g / k[6]
    return w - mean * k[0] / (np.sqrt(v / k[7]) + k[8]), m, v


@compiled
def rmsprop(w: Any, g: Any, s: Any, v: Any, k: Any) -> Any:
    """k: learning rate, rho, 1 - rho, epsilon, momentum."""
    v = k[1] * v + k[2] * s
    return w - k[0] * g / np.sqrt(v + k[3]), v


@compiled
def rmsprop_momentum(w: Any, g: Any, s: Any, v: Any, m: Any, k: Any) -> Any:
    """k: learning rate, rho, 1 - rho, epsilon, momentum."""
    v = k[1] * v + k[2] * s
    m = k[4] * m + k[0] * g / np.sqrt(v + k[3])
    return w - m, v, m


@compiled
def rmsprop_centered(w: Any, g: Any, s: Any, v: Any, a: Any, k: Any) -> Any:
    """k: learning rate, rho, 1 - rho, epsilon, momentum."""
    v = k[1] * v + k[2] * s
    a = k[1] * a + k[2] * g
    return w - k[0] * g / np.sqrt(v - a * a + k[3]), v, a


@compiled
def rmsprop_centered_momentum(w: Any, g: Any, s: Any, v: Any, m: Any, a: Any, k: Any) -> Any:
    """k: learning rate, rho, 1 - rho, epsilon, momentum."""
    v = k[1] * v + k[2] * s
    a = k[1] * a + k[2] * g
    m = k[4] * m + k[0] * g / np.sqrt(v - a * a + k[3])
    return w - m, v, m, a


@compiled
def adadelta(w: Any, g: Any, s: Any, a: Any, d: Any, k: Any) -> Any:
    """k: learning rate, rho, 1 - rho, epsilon."""
    a = k[1] * a + k[2] * s
    old, new = d + k[3], a + k[3]
    d = k[1] * d + k[2] * (old * s / new)
    return w + k[0] * -(np.sqrt(old) * g / np.sqrt(new)), a, d


@compiled
def lion(w: Any, g: Any, s: Any, m: Any, k: Any) -> Any:
    """k: learning rate, beta_1, 1 - beta_1, beta_2, 1 - beta_2."""
    return w - k[0] * np.sign(m * k[1] + g * k[2]), m * k[3] + g * k[4]


@compiled
def ftrl(w: Any, g: Any, s: Any, a: Any, z: Any, k: Any) -> Any:
    """k: learning rate, -learning_rate_power, l1, 2 * l2, 2 * shrinkage."""
    grown = a + s
    raised = np.power(grown, k[1])
    z = z + ((g + k[4] * w) - (raised - np.power(a, k[1])) / k[0] * w)
    return (np.minimum(np.maximum(z, -k[2]), k[2]) - z) / (raised / k[0] + k[3]), grown, z


@compiled
def ftrl_sqrt(w: Any, g: Any, s: Any, a: Any, z: Any, k: Any) -> Any:
    """The usual `ftrl`, with a learning_rate_power of -0.5."""
    grown = a + s
    raised = np.sqrt(grown)
    z = z + ((g + k[4] * w) - (raised - np.sqrt(a)) / k[0] * w)
    return (np.minimum(np.maximum(z, -k[2]), k[2]) - z) / (raised / k[0] + k[3]), grown, z


# ------------------------------------------------------------ loops


@compiled
def _decay(rows: Rows, apart: Apart, g: Array, w: Array, k: Constants) -> None:
    for i in range(rows.size):
        p = i
        if apart is None:
            touch_later(w, rows, i)
            p = rows[i]
        for j in range(w.shape[1]):
            w[p, j] = decay(w[p, j], w[p, j], w[p, j], k)


@compiled
def _sgd(rows: Rows, apart: Apart, g: Array, w: Array, k: Constants) -> None:
    for i in range(rows.size):
        p = i
        if apart is None:
            touch_later(w, rows, i)
            p = rows[i]
        for j in range(w.shape[1]):
            w[p, j] = sgd(w[p, j], g[i, j], g[i, j] * g[i, j], k)


@compiled
def _momentum(rows: Rows, apart: Apart, g: Array, w: Array, a: Array, k: Constants) -> None:
    for i in range(rows.size):
        p = i
        if apart is None:
            touch_later(w, rows, i)
            p = rows[i]
        touch_later(a, rows, i)
        r = rows[i]
        for j in range(w.shape[1]):
            w[p, j], a[r, j] = momentum(w[p, j], g[i, j], g[i, j] * g[i, j], a[r, j], k)


@compiled
def _nesterov(rows: Rows, apart: Apart, g: Array, w: Array, a: Array, k: Constants) -> None:
    for i in range(rows.size):
        p = i
        if apart is None:
            touch_later(w, rows, i)
            p = rows[i]
        touch_later(a, rows, i)
        r = rows[i]
        for j in range(w.shape[1]):
            w[p, j], a[r, j] = nesterov(w[p, j], g[i, j], g[i, j] * g[i, j], a[r, j], k)


@compiled
def _adagrad(rows: Rows, apart: Apart, g: Array, w: Array, a: Array, k: Constants) -> None:
    for i in range(rows.size):
        p = i
        if apart is None:
            touch_later(w, rows, i)
            p = rows[i]
        touch_later(a, rows, i)
        r = rows[i]
        for j in range(w.shape[1]):
            w[p, j], a[r, j] = adagrad(w[p, j], g[i, j], g[i, j] * g[i, j], a[r, j], k)


@compiled
def _rmsprop(rows: Rows, apart: Apart, g: Array, w: Array, a: Array, k: Constants) -> None:
    for i in range(rows.size):
        p = i
        if apart is None:
            touch_later(w, rows, i)
            p = rows[i]
        touch_later(a, rows, i)
        r = rows[i]
        for j in range(w.shape[1]):
            w[p, j], a[r, j] = rmsprop(w[p, j], g[i, j], g[i, j] * g[i, j], a[r, j], k)


@compiled
def _lion(rows: Rows, apart: Apart, g: Array, w: Array, a: Array, k: Constants) -> None:
    for i in range(rows.size):
        p = i
        if apart is None:
            touch_later(w, rows, i)
            p = rows[i]
        touch_later(a, rows, i)
        r = rows[i]
        for j in range(w.shape[1]):
            w[p, j], a[r, j] = lion(w[p, j], g[i, j], g[i, j] * g[i, j], a[r, j], k)


@compiled
def _adam(rows: Rows, apart: Apart, g: Array, w: Array, a: Array, b: Array, k: Constants) -> None:
    for i in range(rows.size):
        p = i
        if apart is None:
            touch_later(w, rows, i)
            p = rows[i]
        touch_later(a, rows, i)
        touch_later(b, rows, i)
        r = rows[i]
        for j in range(w.shape[1]):
            w[p, j], a[r, j], b[r, j] = adam(w[p, j], g[i, j], g[i, j] * g[i, j], a[r, j], b[r, j], k)


@compiled
def _adamax(rows: Rows, apart: Apart, g: Array, w: Array, a: Array, b: Array, k: Constants) -> None:
    for i in range(rows.size):
        p = i
        if apart is None:
            touch_later(w, rows, i)
            p = rows[i]
        touch_later(a, rows, i)
        touch_later(b, rows, i)
        r = rows[i]
        for j in range(w.shape[1]):
            w[p, j], a[r, j], b[r, j] = adamax(w[p, j], g[i, j], abs(g[i, j]), a[r, j], b[r, j], k)


@compiled
def _nadam(rows: Rows, apart: Apart, g: Array, w: Array, a: Array, b: Array, k: Constants) -> None:
    for i in range(rows.size):
        p = i
        if apart is None:
            touch_later(w, rows, i)
            p = rows[i]
        touch_later(a, rows, i)
        touch_later(b, rows, i)
        r = rows[i]
        for j in range(w.shape[1]):
            w[p, j], a[r, j], b[r, j] = nadam(w[p, j], g[i, j], g[i, j] * g[i, j], a[r, j], b[r, j], k)


@compiled
def _rmsprop_momentum(rows: Rows, apart: Apart, g: Array, w: Array, a: Array, b: Array, k: Constants) -> None:
    for i in range(rows.size):
        p = i
        if apart is None:
            touch_later(w, rows, i)
            p = rows[i]
        touch_later(a, rows, i)
        touch_later(b, rows, i)
        r = rows[i]
        for j in range(w.shape[1]):
            w[p, j], a[r, j], b[r, j] = rmsprop_momentum(w[p, j], g[i, j], g[i, j] * g[i, j], a[r, j], b[r, j], k)


@compiled
def _rmsprop_centered(rows: Rows, apart: Apart, g: Array, w: Array, a: Array, b: Array, k: Constants) -> None:
    for i in range(rows.size):
        p = i
        if apart is None:
            touch_later(w, rows, i)
            p = rows[i]
        touch_later(a, rows, i)
        touch_later(b, rows, i)
        r = rows[i]
        for j in range(w.shape[1]):
            w[p, j], a[r, j], b[r, j] = rmsprop_centered(w[p, j], g[i, j], g[i, j] * g[i, j], a[r, j], b[r, j], k)


@compiled
def _adadelta(rows: Rows, apart: Apart, g: Array, w: Array, a: Array, b: Array, k: Constants) -> None:
    for i in range(rows.size):
        p = i
        if apart is None:
            touch_later(w, rows, i)
            p = rows[i]
        touch_later(a, rows, i)
        touch_later(b, rows, i)
        r = rows[i]
        for j in range(w.shape[1]):
            w[p, j], a[r, j], b[r, j] = adadelta(w[p, j], g[i, j], g[i, j] * g[i, j], a[r, j], b[r, j], k)


@compiled
def _ftrl(rows: Rows, apart: Apart, g: Array, w: Array, a: Array, b: Array, k: Constants) -> None:
    for i in range(rows.size):
        p = i
        if apart is None:
            touch_later(w, rows, i)
            p = rows[i]
        touch_later(a, rows, i)
        touch_later(b, rows, i)
        r = rows[i]
        for j in range(w.shape[1]):
            w[p, j], a[r, j], b[r, j] = ftrl(w[p, j], g[i, j], g[i, j] * g[i, j], a[r, j], b[r, j], k)


@compiled
def _ftrl_sqrt(rows: Rows, apart: Apart, g: Array, w: Array, a: Array, b: Array, k: Constants) -> None:
    for i in range(rows.size):
        p = i
        if apart is None:
            touch_later(w, rows, i)
            p = rows[i]
        touch_later(a, rows, i)
        touch_later(b, rows, i)
        r = rows[i]
        for j in range(w.shape[1]):
            w[p, j], a[r, j], b[r, j] = ftrl_sqrt(w[p, j], g[i, j], g[i, j] * g[i, j], a[r, j], b[r, j], k)


@compiled
def _amsgrad(rows: Rows, apart: Apart, g: Array, w: Array, a: Array, b: Array, c: Array, k: Constants) -> None:
    for i in range(rows.size):
        p = i
        if apart is None:
            touch_later(w, rows, i)
            p = rows[i]
        touch_later(a, rows, i)
        touch_later(b, rows, i)
        touch_later(c, rows, i)
        r = rows[i]
        for j in range(w.shape[1]):
            w[p, j], a[r, j], b[r, j], c[r, j] = amsgrad(
                w[p, j], g[i, j], g[i, j] * g[i, j], a[r, j], b[r, j], c[r, j], k
            )


@compiled
def _rmsprop_centered_momentum(
    rows: Rows, apart: Apart, g: Array, w: Array, a: Array, b: Array, c: Array, k: Constants
) -> None:
    for i in range(rows.size):
        p = i
        if apart is None:
            touch_later(w, rows, i)
            p = rows[i]
        touch_later(a, rows, i)
        touch_later(b, rows, i)
        touch_later(c, rows, i)
        r = rows[i]
        for j in range(w.shape[1]):
            w[p, j], a[r, j], b[r, j], c[r, j] = rmsprop_centered_momentum(
                w[p, j], g[i, j], g[i, j] * g[i, j], a[r, j], b[r, j], c[r, j], k
            )


DECAY = Update(decay, _decay, None)
SGD = Update(sgd, _sgd, None)
MOMENTUM = Update(momentum, _momentum, None)
NESTEROV = Update(nesterov, _nesterov, None)
ADAGRAD = Update(adagrad, _adagrad)
ADAM = Update(adam, _adam)
AMSGRAD = Update(amsgrad, _amsgrad)
ADAMAX = Update(adamax, _adamax, np.abs)
NADAM = Update(nadam, _nadam)
RMSPROP = Update(rmsprop, _rmsprop)
RMSPROP_MOMENTUM = Update(rmsprop_momentum, _rmsprop_momentum)
RMSPROP_CENTERED = Update(rmsprop_centered, _rmsprop_centered)
RMSPROP_CENTERED_MOMENTUM = Update(rmsprop_centered_momentum, _rmsprop_centered_momentum)
ADADELTA = Update(adadelta, _adadelta)
LION = Update(lion, _lion, None)
FTRL = Update(ftrl, _ftrl)
FTRL_SQRT = Update(ftrl_sqrt, _ftrl_sqrt)
