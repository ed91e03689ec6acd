"""A servers' checkpoint that is changed anywhere is refused, or has the values that were saved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from running_servers import SGD

from elasticdl_nb.runtime.errors import DamagedCheckpoint
from elasticdl_nb.runtime.parameters.api import Push
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import file_name, save
from elasticdl_nb.runtime.parameters.generations import StoreService
from elasticdl_nb.runtime.parameters.partition import DensePartition
from elasticdl_nb.runtime.parameters.table import TableSpec
from elasticdl_nb.runtime.ps.process import intact
from elasticdl_nb.runtime.storage import checkpoints

SERVERS = 2
VALUES = {"a": np.arange(900, dtype=np.float32), "b": np.arange(1800, 3000, dtype=np.float32)}
PARTS = DensePartition({name: value.shape for name, value in VALUES.items()}, SERVERS).split(VALUES)
TABLE = TableSpec("t", 2, "zeros")
IDS = np.arange(300)


def write(directory: Path, step: int) -> Path:
    path = checkpoints.begin(directory, step, "job")
    for server in range(SERVERS):
        service = StoreService(server=server, servers=SERVERS)
        service.begin(1)
        store = service.initialize(SGD, PARTS[server], [TABLE])
        ids = IDS[server == IDS % SERVERS]
        store.push(Push({}, {"t": (ids, np.repeat(ids[:, None], 2, axis=1).astype(np.float32))}))
        save(path / file_name(server, SERVERS), service.store.snapshot())
    checkpoints.seal(path, step, "job")
    return Path(checkpoints.commit(path, {"cursor": step}, "job"))


def restored(path: Path, servers: int) -> dict[int, tuple[dict[str, np.ndarray], np.ndarray]]:
    """What each server of a group holds after it has restored a checkpoint; raises DamagedCheckpoint."""
    held = {}
    for server in range(servers):
        service = StoreService(server=server, servers=servers)
        service.begin(1, intact(path, server, servers))
        ids = IDS[IDS % servers == server]
        store = service.initialize(SGD, {}, [TABLE])
        held[server] = (
            {key: value.copy() for key, value in store.pull().items()},
            store.lookup("t", ids, create=False),
        )
    return held


def changed(path: Path, every: int) -> Iterator[str]:
    for file in sorted(path.iterdir()):
        content = file.read_bytes()
        for place in [*range(0, len(content), every), len(content) - 1]:
            file.write_bytes(content[:place] + bytes([content[place] ^ 0x5A]) + content[place + 1 :])
            yield f"byte {place} of {file.name}"
        for length in (0, len(content) // 2, len(content) - 1):
            file.write_bytes(content[:length])
            yield f"{file.name} has {length} bytes"
        file.unlink()
        yield f"{file.name} is missing"
        file.write_bytes(content)


@pytest.mark.parametrize("servers", [SERVERS, 1])
def test_every_thousandth_byte_changed_is_noticed_or_does_no_harm(tmp_path: Path, servers: int) -> None:
    path = write(tmp_path, 120)
    right = restored(path, servers)
    assert right[0][1][1].tolist() != [0, 0]
    refused = harmless = 0
    for what in changed(path, 1000):
        try:
            held = restored(path, servers)
        except DamagedCheckpoint as error:
            assert error.checkpoint == str(path), what
            refused += 1
            continue
        # What servers do not read: the queue's state, which the master has, and other servers' rows.
        harmless += 1
        for server, (dense, rows) in right.items():
            assert held[server][0].keys() == dense.keys(), what
            assert all(np.array_equal(held[server][0][key], dense[key]) for key in dense), what
            assert np.array_equal(held[server][1], rows), what
    assert refused > 15
    assert harmless < 5
