"""The mean of several workers' gradients, weighted by their records."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from elasticdl_nb.runtime.parameters.api import Push
from elasticdl_nb.runtime.parameters.arrays import Array, Counts, Ids


def mean_of(pushes: list[Push], size: Callable[[Array], Array] | None) -> Push:
    """Return the mean over the pushes' records, with zero for a gradient that a push lacks, at the latest rate given.

    A push that does not say of which records it is counts as one of a single record.
    """
    if len(pushes) == 1:
        return pushes[0]
    records = [push.part.stop - push.part.start if push.part else 1 for push in pushes]
    dense: dict[str, Array] = {}
    sizes: dict[str, Array] = {}
    rows: dict[str, list[tuple[Ids, Array]]] = {}
    counts: dict[str, list[Counts]] = {}
    for push, count in zip(pushes, records, strict=True):
        share = np.array(count / sum(records), np.float32)
        for key, value in push.dense.items():
            dense[key] = dense[key] + value * share if key in dense else value * share
        if size is not None:
            for key, value in push.sizes.items():
                sizes[key] = sizes.get(key, np.zeros_like(value)) + value * size(share)
        for name, (ids, values) in push.rows.items():
            rows.setdefault(name, []).append((ids, values * share))
            if name in push.counts:
                counts.setdefault(name, []).append(push.counts[name])
    rates = [push.learning_rate for push in pushes if push.learning_rate is not None]
    return Push(
        dense,
        {
            name: (np.concatenate([ids for ids, _ in pairs]), np.concatenate([values for _, values in pairs]))
            for name, pairs in rows.items()
        },
        learning_rate=rates[-1] if rates else None,
        sizes=sizes,
        counts={name: np.concatenate(parts) for name, parts in counts.items()},
    )
