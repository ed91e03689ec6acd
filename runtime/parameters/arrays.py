"""The arrays that parameters consist of, by the names that signatures use for them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
"""Values, slots or gradients: of a variable in its own shape, or rows [n, dim]."""

Ids = NDArray[np.int64]
"""Ids of rows, [n]: any integer is one, negative ones too."""

Rows = NDArray[np.int32]
"""Positions of rows in a table's arrays, [n]."""

Counts = NDArray[np.int32]
"""How often each of some ids was seen, [n]."""

Dense = Mapping[str, Array]
"""Values or gradients of variables by name; for a single server, flat, by the key of a slice."""

RowGradients = Mapping[str, tuple[Ids, Array]]
"""(ids [n], gradients [n, dim]) by table."""
