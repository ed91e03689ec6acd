"""Initial values of embedding rows, each a function of (seed, table, id) alone.

So a row starts the same whichever server holds it, however many servers there are, and in whatever order ids
arrive. Random values come from hashing a counter; they follow the distribution of the Keras initializer of that name,
not its sequence.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.parameters.arrays import Array, Ids
from elasticdl_nb.runtime.parameters.rows.halves import floats, rounded
from elasticdl_nb.runtime.parameters.rows.kernels_numpy import mix
from elasticdl_nb.runtime.spec.tableoptions import FLOAT32

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_BLOCK = 1 << 16
# The standard deviation of a normal distribution truncated at two standard deviations.
_TRUNCATED_DEVIATION = 0.87962566103423978


@dataclass(frozen=True)
class RowInitializer:
    """Makes the initial values of rows; `draw(bits, low, high)` as below.

    With `nearest`, they are those that bfloat16 has, the nearest.
    """

    key: int
    draw: Callable[[Bits], NDArray[np.float64]]
    nearest: bool = False

    def __call__(self, ids: Ids, out: Array) -> None:
        """Fill `out`, float32 [n, dim], for `ids`, int64 [n]."""
        dim = out.shape[1]
        rows = max(1, _BLOCK // max(1, dim))
        for start in range(0, len(ids), rows):
            part = ids[start : start + rows]
            some = out[start : start + rows]
            some[:] = self.draw(Bits(self.key, part, dim))
            if self.nearest:
                some[:] = floats(rounded(some))


class Bits:
    """Streams of 64 random bits for every value of some rows, by counter."""

    def __init__(self, key: int, ids: Ids, dim: int) -> None:
        self.shape = (len(ids), dim)
        with np.errstate(over="ignore"):
            state = mix(ids.view(np.uint64) * _GOLDEN + np.uint64(key))
            columns = np.arange(dim, dtype=np.uint64) << np.uint64(32)
            self._states = mix(state[:, None] + columns * _GOLDEN)

    def constant(self, value: float) -> NDArray[np.float64]:
        """Return the same number for each value."""
        return np.full(self.shape, value)

    def uniform(self, counter: int, where: Any = ...) -> NDArray[np.float64]:
        """Return numbers from (0, 1), one for each value (of those at `where`)."""
        with np.errstate(over="ignore"):
            bits = mix(self._states[where] + np.uint64(counter + 1) * _GOLDEN)
        return ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52

    def normal(self, counter: int, where: Any = ...) -> NDArray[np.float64]:
        """Return standard normal numbers; they use two counters."""
        radius = np.sqrt(-2.0 * np.log(self.uniform(2 * counter, where)))
        return radius * np.cos((2.0 * math.pi) * self.uniform(2 * counter + 1, where))

    def truncated(self) -> NDArray[np.float64]:
        """Return standard normal numbers, drawn again until they are within [-2, 2]."""
        values = self.normal(0)
        counter = 0
        while (far := np.nonzero(np.abs(values) > 2.0))[0].size:
            counter += 1
            values[far] = self.normal(counter, far)
        return values


def _constant(value: float) -> Callable[[Bits], NDArray[np.float64]]:
    return lambda bits: bits.constant(value)


def _uniform(low: float, high: float) -> Callable[[Bits], NDArray[np.float64]]:
    return lambda bits: low + (high - low) * bits.uniform(0)


def _normal(mean: float, deviation: float) -> Callable[[Bits], NDArray[np.float64]]:
    return lambda bits: mean + deviation * bits.normal(0)


def _truncated(mean: float, deviation: float) -> Callable[[Bits], NDArray[np.float64]]:
    return lambda bits: mean + deviation * bits.truncated()


_NAMES = {
    "zeros": "Zeros", "ones": "Ones", "constant": "Constant",
    "uniform": "RandomUniform", "random_uniform": "RandomUniform",
    "normal": "RandomNormal", "random_normal": "RandomNormal", "truncated_normal": "TruncatedNormal",
    "variance_scaling": "VarianceScaling", "glorot_uniform": "GlorotUniform", "glorot_normal": "GlorotNormal",
    "he_uniform": "HeUniform", "he_normal": "HeNormal", "lecun_uniform": "LecunUniform", "lecun_normal": "LecunNormal",
}  # fmt: skip
_SCALING = {
    "VarianceScaling": {},
    "GlorotUniform": {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform"},
    "GlorotNormal": {"scale": 1.0, "mode": "fan_avg", "distribution": "truncated_normal"},
    "HeUniform": {"scale": 2.0, "mode": "fan_in", "distribution": "uniform"},
    "HeNormal": {"scale": 2.0, "mode": "fan_in", "distribution": "truncated_normal"},
    "LecunUniform": {"scale": 1.0, "mode": "fan_in", "distribution": "uniform"},
    "LecunNormal": {"scale": 1.0, "mode": "fan_in", "distribution": "truncated_normal"},
}  # fmt: skip
KNOWN: tuple[str, ...] = tuple(dict.fromkeys(_NAMES.values()))


def row_initializer(
    config: str | Mapping[str, Any],
    table: str,
    dim: int,
    *,
    seed: int = 0,
    input_dim: int | None = None,
    row_dtype: str = FLOAT32,
) -> RowInitializer:
    """Return the initializer of a table's rows from the name or serialized form of a Keras initializer.

    `input_dim` is the number of ids, where it is known: the initializers of the VarianceScaling family need it.
    `row_dtype` is how the table holds values.
    Raises ModelError for an initializer that cannot be evaluated row by row.
    """
    name, values = (config, {}) if isinstance(config, str) else (config["class_name"], dict(config["config"]))
    name = _NAMES.get(name, name)
    if name not in KNOWN or (not isinstance(config, str) and config.get("registered_name")):
        raise ModelError(
            f"embedding {table}: rows cannot be initialized one by one with {name}; use one of {', '.join(KNOWN)}"
        )
    own = values.get("seed")
    digest = hashlib.blake2b(f"{seed}/{own if isinstance(own, int) else ''}/{table}".encode(), digest_size=8)
    draw = _draw(name, values, table, dim, input_dim)
    return RowInitializer(int.from_bytes(digest.digest(), "little"), draw, row_dtype != FLOAT32)


def _draw(
    name: str, values: Mapping[str, Any], table: str, dim: int, input_dim: int | None
) -> Callable[[Bits], NDArray[np.float64]]:
    if name in _SCALING:
        if not input_dim:
            raise ModelError(
                f"embedding {table}: {name} depends on the number of ids, which is not known; give the embedding an "
                "input_dim, or use RandomUniform, RandomNormal or TruncatedNormal"
            )
        return _scaling({"scale": 1.0, "mode": "fan_in", **values, **_SCALING[name]}, dim, input_dim)
    if name == "RandomUniform":
        return _uniform(values.get("minval", -0.05), values.get("maxval", 0.05))
    if name == "RandomNormal":
        return _normal(values.get("mean", 0.0), values.get("stddev", 0.05))
    if name == "TruncatedNormal":
        return _truncated(values.get("mean", 0.0), values.get("stddev", 0.05))
    value = {"Zeros": 0.0, "Ones": 1.0}.get(name, values.get("value", 0.0))
    if not isinstance(value, (int, float)):
        raise ModelError(f"embedding {table}: rows cannot be initialized one by one with an array of values")
    return _constant(value)


def _scaling(values: Mapping[str, Any], dim: int, input_dim: int) -> Callable[[Bits], NDArray[np.float64]]:
    fan = {"fan_in": input_dim, "fan_out": dim, "fan_avg": (input_dim + dim) / 2}[values["mode"]]
    scale = values["scale"] / max(1.0, fan)
    distribution = values.get("distribution", "truncated_normal")
    if distribution == "uniform":
        limit = math.sqrt(3.0 * scale)
        return _uniform(-limit, limit)
    if distribution == "untruncated_normal":
        return _normal(0.0, math.sqrt(scale))
    return _truncated(0.0, math.sqrt(scale) / _TRUNCATED_DEVIATION)
