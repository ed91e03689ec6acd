"""Rows of bfloat16 on their way from servers to workers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from running_servers import DENSE, SGD, client_of, running

from elasticdl_nb.runtime.parameters.api import Push, StepRequest
from elasticdl_nb.runtime.parameters.rows.halves import floats
from elasticdl_nb.runtime.parameters.table import TableSpec
from elasticdl_nb.runtime.ps.inprocess import InProcessServers
from elasticdl_nb.runtime.spec.bounds import Bounds

TABLES = [
    TableSpec("t", 5, row_dtype="bfloat16"),
    TableSpec("b", 3, bounds=Bounds(min_count=2), row_dtype="bfloat16"),
    TableSpec("f", 2),
]


def trained(servers: Any, held: Any) -> list[np.ndarray]:
    """Some steps, and what is there afterwards; rows come as the type `held`."""
    servers.initialize(SGD, DENSE, TABLES)
    random = np.random.default_rng(0)
    seen = []
    for number in range(6):
        ids = np.unique(random.integers(-50, 200, 60))
        rows = {spec.name: (ids, random.normal(size=(ids.size, spec.dim)).astype(np.float32)) for spec in TABLES}
        push = Push({}, rows, number, counts={"b": np.ones(ids.size, np.int32)})
        asked = {spec.name: ids[::-1].copy() for spec in TABLES}
        result = servers.step(StepRequest(push, asked, pull=False))
        assert {name: rows.dtype for name, rows in result.rows.items()} == {"t": held, "b": held, "f": np.float32}
        seen += [floats(result.rows[spec.name]) for spec in TABLES]
    for spec in TABLES:
        found = servers.lookup(spec.name, np.arange(-60, 300), create=False)
        ids, rows = (np.concatenate(parts) for parts in zip(*servers.export(spec.name), strict=True))
        assert found.dtype == rows.dtype == np.float32
        seen += [found, np.sort(ids), rows[np.argsort(ids)]]
    return seen


@pytest.mark.parametrize("count", [1, 2, 3])
def test_servers_round_as_tables_in_this_process_do(count: int) -> None:
    with running(count) as servers, client_of(servers, initialize=False) as client:
        seen = trained(client, np.uint16)
    for mine, theirs in zip(seen, trained(InProcessServers(), np.float32), strict=True):
        np.testing.assert_array_equal(mine, theirs)
