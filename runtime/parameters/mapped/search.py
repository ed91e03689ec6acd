"""Finding ids in a sorted file: first in the index, which stays in memory, and then in the page that it names."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime import compiled as compilation
from elasticdl_nb.runtime.compiled import compiled
from elasticdl_nb.runtime.parameters.arrays import Ids
from elasticdl_nb.runtime.parameters.mapped.form import FENCE

Places = NDArray[np.int64]


@compiled
def _find(index: Ids, ids: Ids, query: Ids, places: Places) -> None:
    """Set `places[i]` to where `query[i]` is in `ids`, or to -1."""
    for i in range(query.size):
        wanted = query[i]
        low, high = 0, index.size  # the last entry of the index that is not larger
        while low < high:
            middle = (low + high) // 2
            if index[middle] <= wanted:
                low = middle + 1
            else:
                high = middle
        places[i] = -1
        if low == 0:
            continue
        low, high = (low - 1) * FENCE, min(low * FENCE, ids.size)
        while low < high:
            middle = (low + high) // 2
            if ids[middle] < wanted:
                low = middle + 1
            else:
                high = middle
        if low < ids.size and ids[low] == wanted:
            places[i] = low


def find(index: Ids, ids: Ids, query: Ids) -> Places:
    """Return the places of `query`, int64 [n], in `ids`, which ascend; -1 where an id is not there."""
    places = np.empty(query.size, np.int64)
    if compilation.ENABLED:
        _find(index, ids, query, places)
        return places
    if not ids.size:
        places.fill(-1)
        return places
    places = np.searchsorted(ids, query)
    found = ids[np.minimum(places, ids.size - 1)] == query
    return np.where(found, places, -1)
