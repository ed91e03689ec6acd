"""A checkpoint of which a version is made stays as it is, whatever other processes do and whichever are killed."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from elasticdl_nb.runtime.publishing import version
from elasticdl_nb.runtime.publishing.tables import DamagedBefore
from elasticdl_nb.runtime.publishing.version import _held
from elasticdl_nb.runtime.storage import checkpoints
from elasticdl_nb.runtime.storage.versions import MESSAGE, VersionRecord

JOB = SimpleNamespace(identity="job")


def checkpoint(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    (folder / name / "weights").write_text(name)
    return folder / name


def test_two_processes_of_a_job_do_not_take_each_others_files(tmp_path: Path) -> None:
    first, second = checkpoint(tmp_path, "step-1"), checkpoint(tmp_path, "step-2")
    with _held(first, JOB) as one:  # type: ignore[arg-type]
        checkpoints.discard(first)
        with _held(second, JOB) as other:  # type: ignore[arg-type]
            assert [(held / "weights").read_text() for held in (one, other)] == ["step-1", "step-2"]
        assert (one / "weights").read_text() == "step-1"
    assert [path.name for path in tmp_path.iterdir()] == ["step-2"]


def test_what_a_killed_process_held_takes_no_room_after_the_job(tmp_path: Path) -> None:
    checkpoint(tmp_path, "step-1")
    held = (
        "import os, signal\nfrom pathlib import Path\nfrom types import SimpleNamespace\n"
        "from elasticdl_nb.runtime.publishing.version import _held\n"
        f"with _held(Path({str(tmp_path / 'step-1')!r}), SimpleNamespace(identity='job')):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", held]).returncode < 0
    assert len(list(tmp_path.iterdir())) == 2
    checkpoints.discard_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]


def test_a_version_is_written_whole_if_the_one_before_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built_on: list[Any] = []

    class Writing:
        def __init__(self, folder: Any, spec: Any, checkpoint: Path, aside: Path, name: str, before: Any) -> None:
            self._aside, self._before = aside, before

        def write(self) -> bool:
            built_on.append(self._before)
            self._aside.mkdir()
            (self._aside / MESSAGE).touch()
            VersionRecord("job", len(built_on), 1, 0.0, 0.0).write(self._aside)
            if self._before is not None:
                raise DamagedBefore("layer-1 is damaged")
            return False

    monkeypatch.setattr(version, "_Version", Writing)
    spec: Any = SimpleNamespace(output=str(tmp_path / "out"), keep_published=0)
    for number in (1, 2):
        step = checkpoint(tmp_path, f"step-{number}")
        assert version.publish(JOB, spec, step) == version.Published(number)  # type: ignore[arg-type]
    assert built_on == [None, tmp_path / "out" / "1", None]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1", "2"]
