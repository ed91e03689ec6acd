from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scripted_master import ScriptedMaster, make_folder

from elasticdl_nb.runtime.storage.jobfolder import JobFolder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Jobs of a test stay in the test's own directory."""
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def folder() -> JobFolder:
    return make_folder()


@pytest.fixture
def start_master() -> Iterator[Callable[[JobFolder], ScriptedMaster]]:
    masters: list[ScriptedMaster] = []

    def start(folder: JobFolder) -> ScriptedMaster:
        masters.append(ScriptedMaster(folder).start())
        return masters[-1]

    yield start
    for master in masters:
        master.stop()


@pytest.fixture
def master(folder: JobFolder, start_master: Callable[[JobFolder], ScriptedMaster]) -> ScriptedMaster:
    return start_master(folder)
