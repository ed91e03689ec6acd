"""Putting together what processes say of an epoch."""

from __future__ import annotations

from elasticdl_nb.runtime.protocol import master_pb2 as pb


def together(a: pb.EpochEnded, b: pb.EpochEnded) -> pb.EpochEnded:
    """Return what two processes say of an epoch: means by records; a value that only one has is that one's."""
    logs = {**a.logs, **b.logs}
    records = a.records + b.records
    for name in a.logs.keys() & b.logs.keys() if records else ():
        logs[name] = (a.logs[name] * a.records + b.logs[name] * b.records) / records
    return pb.EpochEnded(epoch=a.epoch, step=max(a.step, b.step), records=records, logs=logs)
