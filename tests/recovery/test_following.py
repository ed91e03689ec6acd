"""A training that follows its data uses every record once, whatever dies, and a later job goes on from there."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from pathlib import Path

import counting
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import elasticdl_nb
from elasticdl_nb.job import Job, launch
from elasticdl_nb.runtime import chaos
from elasticdl_nb.runtime.control.status import is_over
from elasticdl_nb.runtime.errors import JobError
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

pytestmark = pytest.mark.timeout(600)
RECORDS, PER_FILE = 2400, 200


class Stream:
    """A directory that gains files of numbered records."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.written = folder, 0
        folder.mkdir()

    def grow(self, files: int = 1) -> None:
        for _ in range(files):
            table = pa.table({"number": np.arange(self.written, self.written + PER_FILE)})
            aside = self.folder / "_aside"
            pq.write_table(table, aside)
            aside.rename(self.folder / f"part-{self.written:06d}.parquet")
            self.written += PER_FILE


def until_done(job: Job, records: int) -> None:
    deadline = time.monotonic() + 200
    while job.status().records_done < records:
        assert not is_over(job.status()), job.status().failure.message
        assert time.monotonic() < deadline, job.status()
        time.sleep(0.1)


def kill(job: Job, *names: str) -> None:
    processes = chaos.processes(job.folder)
    for name in names:
        with contextlib.suppress(ProcessLookupError):
            os.kill(processes[name].pid, signal.SIGKILL)


def test_each_record_counts_once_whatever_dies_and_a_later_job_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    options = counting.write(tmp_path, RECORDS)
    stream = Stream(tmp_path / "stream")
    stream.grow(2)
    options |= {
        "data": stream.folder, "follow": True, "minibatch_size": 32, "num_minibatches_per_task": 2,
        "distribution_strategy": "ParameterServerStrategy", "num_workers": 2, "num_ps": 1, "checkpoint_steps": 8,
        "wait": False,
    }  # fmt: skip
    job = elasticdl_nb.train(**options, envs={"TEST_SLOW": "0.01"})
    try:
        until_done(job, 2 * PER_FILE)
        for victims in (["worker-0"], ["ps-0"], ["master"], ["master", "supervisor"]):
            stream.grow()
            kill(job, *victims)
            stream.grow()
            until_done(job, stream.written)
        (stream.folder / "other.parquet").write_bytes(b"no parquet at all")
        job.stop()
        job.wait(timeout=200)
        assert Counter(counting.uses(tmp_path)) == {1: stream.written, 0: RECORDS - stream.written}
        assert "other.parquet" not in (tmp_path / "out" / "used_files.json").read_text()
        os.rename(tmp_path / "out", tmp_path / "before")
        (stream.folder / "other.parquet").unlink()
        stream.grow()
        later = elasticdl_nb.train(**options, checkpoint_dir_for_init=tmp_path / "before")
        later.stop().wait(timeout=200)
        assert later.status().records_done == PER_FILE
        assert Counter(counting.uses(tmp_path)) == {1: stream.written, 0: RECORDS - stream.written}
        with pytest.raises(JobError, match="it is over"):
            later.stop()
    finally:
        for folder in JobFolder.all():
            launch.kill(folder)
