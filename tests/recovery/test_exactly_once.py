"""A model that counts shows that every record is used as often as the job says, whatever dies or repeats work."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import counting
import pytest

import elasticdl_nb
from elasticdl_nb.job import launch
from elasticdl_nb.runtime import chaos

pytestmark = pytest.mark.timeout(900)
RECORDS, EPOCHS = 6000, 3
SERVED = {"distribution_strategy": "ParameterServerStrategy", "num_workers": 3, "checkpoint_steps": 60}
JOBS = {
    "asynchronous": {**SERVED, "num_ps": 2, "use_async": True},
    "synchronous": {**SERVED, "num_ps": 2, "use_async": False, "grads_to_wait": 1},
    "undisturbed, many workers": {**SERVED, "num_ps": 1, "num_workers": 8},  # which start slowly: cores are few
    "alone": {"checkpoint_steps": 60},
}
KILLS = {"undisturbed, many workers": 0, "alone": 2}


@pytest.mark.parametrize("name", JOBS)
def test_each_record_is_used_once_an_epoch(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    job = elasticdl_nb.train(
        **counting.write(tmp_path, RECORDS), **JOBS[name], num_epochs=EPOCHS, minibatch_size=32,
        num_minibatches_per_task=4, envs={"TEST_SLOW": "0.02"}, wait=False,
    )  # fmt: skip
    source = random.Random(name)
    try:
        while not job.status().records_done:
            assert not job.status().finished_at, job.status().failure.message
            time.sleep(0.1)
        for _ in range(int(os.environ.get("ELASTICDL_TEST_KILLS", KILLS.get(name, 5)))):
            time.sleep(source.uniform(0.2, 2.0))
            living = {name: process for name, process in chaos.processes(job.folder).items() if name != "supervisor"}
            if job.status().finished_at or not living:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(living[source.choice(sorted(living))].pid, signal.SIGKILL)
        job.wait(timeout=400)
    finally:
        launch.kill(job.folder)
    assert Counter(counting.uses(tmp_path)) == {EPOCHS: RECORDS}
