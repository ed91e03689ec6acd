"""Ctrl-C and SIGTERM at any moment: everything is gone within seconds, and the job counts as cancelled."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from job_tools import flags, processes_in, wait_for_status, wait_until, workers

import elasticdl_nb
from elasticdl_nb.cli import main
from elasticdl_nb.runtime.protocol import master_pb2 as pb

ZOO = """
import time
from pathlib import Path

import keras
import tensorflow as tf

Path("{place}", "imported").touch()


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, inputs):
        return self.dense(inputs)

    def save_own_variables(self, store):
        super().save_own_variables(store)

    def default_loss(self, labels, outputs):
        return tf.reduce_mean(tf.square(outputs - labels))

    def default_optimizer(self):
        return keras.optimizers.SGD(0.1)

    def default_input(self, record):
        return tf.reshape(record["x"], [1]), tf.reshape(record["y"], [1])

    def export(self, *arguments, **options):
        Path("{place}", "exporting").touch()
        time.sleep(60)
"""

SECONDS = 40.0
"""What "within seconds" may be on a busy machine: less than anything that was interrupted would take."""


@pytest.fixture
def options(tmp_path: Path) -> Callable[..., list[str]]:
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "net.py").write_text(ZOO.replace("{place}", str(tmp_path)))
    x = np.arange(1000, dtype=np.float32) / 1000
    pd.DataFrame({"x": x, "y": x}).to_parquet(tmp_path / "data.parquet")

    def given(name: str, **more: object) -> list[str]:
        return flags(
            model_zoo="zoo", model_def="net.Net", data="data.parquet", output=tmp_path / f"results-{name}" / "out",
            job_name=name, **more,
        )  # fmt: skip

    return given


def test_an_interrupt_at_any_moment_leaves_nothing(commands, options, tmp_path, capsys):
    def has_worker(status: pb.JobStatus) -> bool:
        return bool(workers(status) and workers(status)[0].pid)

    moments: dict[str, tuple[dict[str, object], Callable[[], object]]] = {
        "start": ({}, lambda: wait_until(lambda: processes_in(tmp_path / "home"), "the master is started")),
        "import": ({}, lambda: wait_for_status("import", has_worker, "the worker imports TensorFlow")),
        "middle": (
            {"num_epochs": 10**6},
            lambda: wait_for_status("middle", lambda status: status.step > 20, "it is being trained"),
        ),
        "writing": ({}, lambda: wait_until((tmp_path / "exporting").exists, "the trained model is being written")),
    }
    for name, (more, wait) in moments.items():
        running = commands.start("train", *options(name, **more))
        wait()
        began = time.monotonic()
        ended = running.interrupt()
        assert time.monotonic() - began < SECONDS, name
        assert (ended.code, "Traceback" in ended.err) == (130, False), ended.err
        assert processes_in(tmp_path / "home") == []
        assert not list(tmp_path.glob(f"results-{name}/*"))
        assert not list(tmp_path.glob(f"results-{name}/.*"))
        if name != "start":
            assert elasticdl_nb.attach(name).status().phase == pb.CANCELLED
            assert f"Job {name} was cancelled." in ended.err

    terminated = commands.start("train", *options("terminated"))
    wait_for_status("terminated", has_worker, "the worker imports TensorFlow")
    assert terminated.interrupt(signal.SIGTERM).code == 143
    assert elasticdl_nb.attach("terminated").status().phase == pb.CANCELLED

    assert main(["jobs"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "cancelled" in line]
    assert {line.split()[0] for line in lines} >= {"import", "middle", "writing", "terminated"}
