"""What a checkpoint holds of a table with bounds, beside its rows."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from elasticdl_nb.runtime.parameters.bounded import BoundedTable
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import Frame
from elasticdl_nb.runtime.parameters.rows.counters import FIRST, CountBlock


def bounded_frames(table: BoundedTable, server: int, counts: Iterable[CountBlock] | None = None) -> list[Frame]:
    """Return a table's counters, or only these, the times of its steps, and what came and went, as of this call."""
    name = table.spec.name
    times = [np.array(table.times.times, np.float64), np.array(table.times.steps, np.int64)]
    came = {"admitted": table.admitted, "evicted": table.evicted}
    return [Frame({"kind": "bounds", "table": name, "server": server, **came, "half": table.half}, times)] + [
        Frame({"kind": "counters", "table": name, "late": block.late, "half": block.half}, [block.ids, block.counts])
        for block in (table.counters() if counts is None else counts)
    ]


def restore_bounded(table: BoundedTable, frame: Frame, server: int, servers: int) -> None:
    """Take a frame that `bounded_frames` made, or one of last uses, for one of any number of servers."""
    match frame.meta["kind"]:
        case "counters":
            half = int(frame.meta.get("half", 0))
            table.restore_counters(CountBlock(bool(frame.meta["late"]), frame.arrays[0], frame.arrays[1], half))
        case "uses":
            table.restore_uses(frame.arrays[0], frame.arrays[1])
        case "bounds":
            table.restore_half(int(frame.meta.get("half", FIRST)))
            if frame.meta["server"] % servers == server:
                table.admitted += int(frame.meta["admitted"])
                table.evicted += int(frame.meta["evicted"])
            if len(frame.arrays[0]) > len(table.times.times):
                table.times.times, table.times.steps = frame.arrays[0].tolist(), frame.arrays[1].tolist()
