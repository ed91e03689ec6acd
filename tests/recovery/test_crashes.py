"""Workers of real jobs that end by their own doing, or are killed: only the former have consequences."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import counting
import pytest

import elasticdl_nb
from elasticdl_nb.job import Job, launch
from elasticdl_nb.job.report import text_report
from elasticdl_nb.runtime import chaos
from elasticdl_nb.runtime.errors import JobFailed
from elasticdl_nb.runtime.protocol import master_pb2 as pb

pytestmark = pytest.mark.timeout(600)
RECORDS = 1920

# A record that ends whoever parses it.
POISON = """
    import numpy as np
    import tensorflow as tf

    def look(numbers):
        if {record} in numbers:
            {deed}
        return numbers

    number = tf.ensure_shape(tf.numpy_function(look, [records["number"]], tf.int64), [None])
    records = {{**records, "number": number}}
"""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Job]]:
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    started: list[Job] = []
    material = counting.write(tmp_path, RECORDS)

    def start(deed: str = "", **options: Any) -> Job:
        model = tmp_path / "zoo" / "counting.py"
        if deed:
            poison = POISON.format(record=1000, deed=deed)
            text = model.read_text().replace("def input_fn(records, mode):\n", "def input_fn(records, mode):" + poison)
            model.write_text(f"import os\n{text}")
        started.append(elasticdl_nb.train(
            **{**material, "minibatch_size": 32, "num_minibatches_per_task": 2, "shuffle": False, **options}, wait=False
        ))  # fmt: skip
        return started[-1]

    yield start
    for job in started:
        launch.kill(job.folder)


def test_a_record_that_ends_its_worker_three_times_fails_the_job_and_is_named(
    start: Callable[..., Job], tmp_path: Path
) -> None:
    job = start("os._exit(7)")
    with pytest.raises(JobFailed, match="records 960 to 1,023"):
        job.wait(timeout=200)
    assert job.status().failure.message == (
        f"worker-0 ended with exit code 7 during a training task, like the 2 process(es) before it, with records 960 "
        f"to 1,023 of {tmp_path}/data.parquet; likely cause: the model's code, or a library that it uses, ended the "
        "process"
    )
    assert [instance.restarts for instance in job.status().instances if instance.role == "worker"] == [2]


def test_a_record_that_crashes_its_worker_is_set_aside_if_that_is_allowed(
    start: Callable[..., Job], tmp_path: Path
) -> None:
    job = start("os.abort()", skip_failed_tasks=True, max_task_retries=1,
                distribution_strategy="ParameterServerStrategy", num_workers=2)  # fmt: skip
    job.wait(timeout=300)
    status = job.status()
    assert (status.tasks_set_aside, status.records_set_aside) == (1, 64)
    assert "crashed (SIGABRT)" in status.set_aside[0].reason and "records 960 to 1,023" in status.set_aside[0].reason
    assert "1 task(s), with 64 record(s) that were not used" in text_report(job.spec, status, job.folder)
    uses = counting.uses(tmp_path)
    assert Counter(uses[:960]) + Counter(uses[1024:]) == {1: RECORDS - 64}
    assert Counter(uses[960:1024]) == {0: 64}


def test_a_worker_that_is_killed_five_times_is_not_to_blame(start: Callable[..., Job], tmp_path: Path) -> None:
    job = start(num_epochs=3, envs={"TEST_SLOW": "0.05"}, num_minibatches_per_task=60)
    for number in range(5):
        deadline = time.monotonic() + 100
        while (instance := worker(job)).restarts < number or instance.state != "running":
            assert not job.status().finished_at and time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(chaos.processes(job.folder)["worker-0"].pid, signal.SIGKILL)
    job.wait(timeout=200)
    assert worker(job).restarts == 5
    assert Counter(counting.uses(tmp_path)) == {3: RECORDS}
    assert not any("likely cause" in event.text for event in job.status().events)


def worker(job: Job) -> pb.Instance:
    return next((one for one in job.status().instances if one.role == "worker"), pb.Instance())
