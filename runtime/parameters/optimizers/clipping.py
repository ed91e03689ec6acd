"""Gradient clipping as Keras' optimizers do it before an update, to all of a step's gradients.

Workers clip before they push. Where a step takes the mean of several pushes, the server clips that instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from elasticdl_nb.runtime.parameters.arrays import Array, RowGradients


@dataclass(frozen=True)
class Clipping:
    """At most one of the three is set; each is as in Keras."""

    clipnorm: float | None = None
    global_clipnorm: float | None = None
    clipvalue: float | None = None

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> Clipping:
        """Take the clipping out of an optimizer's `config`."""
        return cls(**{name: values.get(name) or None for name in ("clipnorm", "global_clipnorm", "clipvalue")})

    def __bool__(self) -> bool:
        return any((self.clipnorm, self.global_clipnorm, self.clipvalue))

    def __call__(self, gradients: Sequence[Array]) -> list[Array]:
        """Return the clipped gradients of all variables; for a table, those of its rows, with duplicates summed."""
        if self.clipnorm:
            return [_scaled(gradient, _norm([gradient]), self.clipnorm) for gradient in gradients]
        if self.global_clipnorm:
            norm = _norm(gradients)
            return [_scaled(gradient, norm, self.global_clipnorm) for gradient in gradients]
        if self.clipvalue:
            limit = np.float32(self.clipvalue)
            return [np.clip(gradient, -limit, limit) for gradient in gradients]
        return list(gradients)

    def with_rows(self, dense: Sequence[Array], rows: RowGradients) -> tuple[list[Array], RowGradients]:
        """Return a step's gradients, of dense variables and of rows, clipped together."""
        clipped = self([*dense, *(values for _, values in rows.values())])
        of_rows = zip(rows.items(), clipped[len(dense) :], strict=True)
        return clipped[: len(dense)], {table: (ids, values) for (table, (ids, _)), values in of_rows}


def _norm(gradients: Sequence[Array]) -> np.float32:
    return np.float32(np.sqrt(sum(np.vdot(gradient, gradient) for gradient in gradients)))


def _scaled(gradient: Array, norm: np.float32, limit: float) -> Array:
    return gradient if norm <= limit else gradient * (np.float32(limit) / norm)
