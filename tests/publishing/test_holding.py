"""A checkpoint of which a version is made stays as it is, whatever other processes do and whichever are killed."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from elasticdl_nb.runtime.publishing.version import _held
from elasticdl_nb.runtime.storage import checkpoints

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
