"""Jobs of real processes whose checkpoints are damaged, or cannot be written: they end as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import counting
import pytest

import elasticdl_nb
from elasticdl_nb.given import sharing
from elasticdl_nb.job import Job, launch
from elasticdl_nb.runtime import chaos
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.storage import checkpoints

pytestmark = pytest.mark.timeout(600)
RECORDS, EPOCHS = 6000, 3
STRATEGIES: dict[str, dict[str, Any]] = {
    "Local": {},
    "servers": {"distribution_strategy": "ParameterServerStrategy", "num_workers": 2, "num_ps": 2},
    # Several workers take the mean of their gradients, and the model no longer counts in whole numbers.
    "all-reduce": {"distribution_strategy": "AllreduceStrategy", "num_workers": 1},
}
# Those whose death takes the job back to its checkpoint.
VICTIMS = {"Local": ["worker-0"], "servers": ["ps-1"], "all-reduce": ["worker-0"]}


@pytest.fixture(params=STRATEGIES)
def strategy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def start(strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Job]]:
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sharing, "ENDING_SECONDS", 0.0)  # the job goes on meanwhile
    started: list[Job] = []
    material = counting.write(tmp_path, RECORDS)

    def start(**options: Any) -> Job:
        started.append(elasticdl_nb.train(
            **{**material, **STRATEGIES[strategy], "num_epochs": EPOCHS, "minibatch_size": 32,
               "num_minibatches_per_task": 4, "envs": {"TEST_SLOW": "0.02"}, **options}, wait=False,
        ))  # fmt: skip
        return started[-1]

    yield start
    for job in started:
        launch.kill(job.folder)


def wait_until(condition: Callable[[], Any], job: Job) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert not job.status().finished_at, job.status().failure.message
        assert time.monotonic() < deadline
        time.sleep(0.02)


def texts(job: Job) -> list[str]:
    return [event.text for event in job.status().events]


def check_end(job: Job, folder: Path) -> None:
    job.wait(timeout=300)
    assert Counter(counting.uses(folder)) == {EPOCHS: RECORDS}


def test_the_newest_intact_checkpoint_is_used(start: Callable[..., Job], strategy: str, tmp_path: Path) -> None:
    directory = tmp_path / "checkpoints"
    job = start(checkpoint_dir=directory, checkpoint_steps=60)
    wait_until(lambda: job.status().checkpoint_step > 0, job)
    with pytest.raises(OptionError, match=rf"is also written to by the job '{job.name}', which is running") as caught:
        start(checkpoint_dir=directory, output=tmp_path / "other")
    assert caught.value.option == "checkpoint_dir"
    with pytest.raises(OptionError, match=rf"is also written to by the job '{job.name}', which is running") as caught:
        start(checkpoint_dir=tmp_path / "other", overwrite=True)
    assert caught.value.option == "output"

    first = job.status().checkpoint_step
    wait_until(lambda: job.status().checkpoint_step > first, job)
    newest = checkpoints.completed(directory)[-1]
    for file in newest.iterdir():
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0x5A
        file.write_bytes(content)
    living = chaos.processes(job.folder)
    for victim in VICTIMS[strategy]:
        os.kill(living[victim].pid, signal.SIGKILL)
    check_end(job, tmp_path)
    assert sum("is damaged, and set aside" in text for text in texts(job)) == 1
    assert any(text.endswith(f"training continues from the checkpoint of step {first}") for text in texts(job))
    left = sorted(path.name for path in directory.iterdir())
    assert left[0] == checkpoints.damaged_name(newest) and all(name.startswith("step-") for name in left[1:])


def test_another_job_begins_where_one_has_ended(start: Callable[..., Job], strategy: str, tmp_path: Path) -> None:
    ring = strategy == "all-reduce"
    options = {"envs": {"TEST_SLOW": "0"}, "optimizer": "signs" if ring else "optimizer"}
    directory = tmp_path / "checkpoints"
    job = start(checkpoint_dir=directory, num_epochs=1, **options, **({"num_workers": 2} if ring else {}))
    job.wait(timeout=300)
    newest = checkpoints.completed(directory)[-1]
    assert checkpoints.Manifest.read(newest).step == job.status().step > 0
    start(checkpoint_dir_for_init=directory, overwrite=True, **options).wait(timeout=300)
    assert Counter(counting.uses(tmp_path)) == {1 + EPOCHS: RECORDS}


@contextmanager
def mounted(disk: Path, size: str) -> Iterator[Path]:
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", disk]
    if os.geteuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system without room for a checkpoint."""
    with mounted(tmp_path / "disk", "12k") as disk:
        yield disk


@pytest.fixture
def disk_of_jobs(tmp_path: Path) -> Iterator[Path]:
    """A file system for the folders of jobs."""
    with mounted(tmp_path / "home", "30m") as disk:
        yield disk


def test_training_continues_without_room_for_checkpoints(
    start: Callable[..., Job], small_disk: Path, tmp_path: Path
) -> None:
    job = start(checkpoint_dir=small_disk, checkpoint_steps=30, envs={"TEST_SLOW": "0.07"})
    wait_until(lambda: any("a checkpoint could not be written" in text for text in texts(job)), job)
    assert any("No space left on device" in text and "next try in 10 seconds" in text for text in texts(job))
    before = job.status().records_done
    wait_until(lambda: job.status().records_done > before, job)
    assert [path.name for path in small_disk.iterdir()] == [".owner.json"]
    subprocess.run(["mount", "-o", "remount,size=10m", small_disk], check=True)
    wait_until(lambda: job.status().checkpoint_step > 0, job)
    assert any("checkpoints can be written again" in text for text in texts(job))
    check_end(job, tmp_path)
    assert job.status().rollbacks == 0
    assert all(path.name.startswith("step-") for path in small_disk.iterdir())


@pytest.mark.parametrize("strategy", ["servers"], indirect=True)
def test_a_job_waits_while_its_own_folder_has_no_room(
    disk_of_jobs: Path, start: Callable[..., Job], tmp_path: Path
) -> None:
    job = start(checkpoint_dir=tmp_path / "checkpoints", checkpoint_steps=60, envs={"TEST_SLOW": "0.04"})
    wait_until(lambda: job.status().records_done > 0, job)

    def fill() -> None:  # again and again, for the job's own files become shorter, too
        with suppress(OSError), (disk_of_jobs / "fill").open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def is_noticed() -> bool:
        fill()
        return any("the job's journal could not be written: database or disk" in text for text in texts(job))

    wait_until(is_noticed, job)
    deadline = time.monotonic() + 2.0  # for what workers have in hand
    while time.monotonic() < deadline:
        fill()
        time.sleep(0.02)
    before = job.status().records_done
    os.kill(chaos.processes(job.folder)["master"].pid, signal.SIGKILL)  # no other can begin without room
    time.sleep(3.0)
    (disk_of_jobs / "fill").unlink()
    check_end(job, tmp_path)
    assert before < job.status().records_done == EPOCHS * RECORDS
