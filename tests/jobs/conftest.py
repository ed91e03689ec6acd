from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from job_tools import Commands, processes_in

from elasticdl_nb.runtime.storage.jobfolder import JobFolder

PATIENCE_SECONDS = 20.0


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Jobs of a test stay in the test's own directory, and none of their processes, ports and half-written results."""
    home = tmp_path / "home"
    monkeypatch.setenv("ELASTICDL_HOME", str(home))
    yield home
    monkeypatch.setenv("ELASTICDL_HOME", str(home))
    assert_nothing_is_left(tmp_path)


@pytest.fixture
def commands(tmp_path: Path, home: Path) -> Iterator[Commands]:
    """Runs `elasticdl` commands in the test's own directory."""
    commands = Commands(tmp_path)
    yield commands
    commands.end()


def assert_nothing_is_left(work: Path) -> None:
    _, alive = psutil.wait_procs(processes_in(work), timeout=PATIENCE_SECONDS)
    left = [(process.pid, process.cmdline()) for process in alive]
    for process in alive:
        process.kill()
    assert not left, [log.read_text()[-2000:] for log in work.rglob("*.log")]
    for folder in JobFolder.all():
        master = folder.master()
        assert master is None or not listens(master["address"]), f"{folder.name} still listens"
    assert [str(path) for path in work.rglob(".*.partial")] == []
    assert [str(path) for path in work.rglob(".*.old")] == []


def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0
