"""A training that follows its data uses every record once, whatever dies, and a later job goes on from there."""

from __future__ import annotations

import contextlib
import json
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
from elasticdl_nb.cli import managing
from elasticdl_nb.job import Job, launch
from elasticdl_nb.runtime import chaos
from elasticdl_nb.runtime.control.status import is_over
from elasticdl_nb.runtime.errors import JobError
from elasticdl_nb.runtime.storage.checkpoints import QUEUE, completed
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

pytestmark = pytest.mark.timeout(600)
RECORDS, PER_FILE = 1600, 200


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
    deadline = time.monotonic() + 300
    while job.status().records_done < records:
        assert not is_over(job.status()), job.status().failure.message
        assert time.monotonic() < deadline, job.status()
        time.sleep(0.05)


def kill(job: Job, *names: str) -> None:
    processes = chaos.processes(job.folder)
    for name in names:
        with contextlib.suppress(ProcessLookupError):
            os.kill(processes[name].pid, signal.SIGKILL)


def test_each_record_counts_once_whatever_dies_and_a_later_job_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    options = counting.write(tmp_path, RECORDS)
    stream = Stream(tmp_path / "stream")
    stream.grow(2)
    options |= {
        "data": stream.folder, "follow": True, "minibatch_size": 32, "num_minibatches_per_task": 2,
        "checkpoint_steps": 8, "wait": False,
        "prequential": True, "prequential_window": 128, "eval_metrics_fn": "counting.tested",
    }  # fmt: skip
    job = elasticdl_nb.train(
        **options, distribution_strategy="ParameterServerStrategy", num_workers=2, num_ps=1,
        checkpoint_dir=tmp_path / "checkpoints",
    )  # fmt: skip
    try:
        until_done(job, 2 * PER_FILE)
        stream.grow(2)
        kill(job, "worker-0", "ps-0", "master")
        stream.grow()
        until_done(job, stream.written)
        job.cancel()
        tested, untested = job.tested.tested[-1], job.tested.untested
        assert set(job.tested["learnt"]) == {0.0}, "a record was learnt before it was tested"
        assert sum(job.tested.records) == sum(job.tested["records"]) == tested
        assert 0 <= job.status().records_done - tested - untested < 128 + 64  # those of the window under way
        (stream.folder / "part-000000.parquet").unlink()
        (stream.folder / "other.parquet").write_bytes(b"no parquet at all")
        with pytest.raises(JobError, match="it is over"):
            job.stop()
        (stream.folder / "other.parquet").unlink()
        stream.grow()
        checkpoints = tmp_path / "checkpoints"
        later = elasticdl_nb.train(**options, checkpoint_dir_for_init=checkpoints, checkpoint_dir=checkpoints)
        until_done(later, PER_FILE)
        kill(later, "worker-0", "master")
        stream.grow()
        assert managing.run_stop([later.name]) == 0 and "succeeded" in capsys.readouterr().out
        assert set(later.tested["learnt"]) == {0.0} and later.tested.untested == 0
        assert later.tested.tested[-1] == sum(later.tested["records"]) == later.status().records_done
        assert Counter(counting.uses(tmp_path)) == {1: stream.written, 0: RECORDS - stream.written}
        used = json.loads((tmp_path / "out" / "used_files.json").read_text())
        assert len(used["files"]) == stream.written // PER_FILE and not used["left"]
        last = json.loads((completed(checkpoints)[-1] / QUEUE).read_text())
        assert last["data"] == used, "what goes on from the last checkpoint goes on from the model"
    finally:
        for folder in JobFolder.all():
            launch.kill(folder)
