"""Jobs as people run them: the command and the Python functions, with the real master and workers."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import psutil
import pytest

import elasticdl_nb
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

ZOO = """
import keras
import tensorflow as tf


class Linear(keras.Model):
    def __init__(self, units=1):
        super().__init__()
        self.layer = keras.layers.Dense(units)

    def call(self, inputs):
        return self.layer(inputs)

    @staticmethod
    def default_loss(labels, outputs):
        return tf.reduce_mean(tf.square(outputs - labels))

    @staticmethod
    def default_optimizer(learning_rate=0.1):
        return keras.optimizers.SGD(learning_rate)

    @staticmethod
    def default_input(record):
        values = tf.strings.to_number(record)
        return values[:2], values[2:]


def broken_loss(labels, outputs):
    raise RuntimeError("this loss is broken")
"""

SCRIPT = """
import keras
import pandas as pd
import tensorflow as tf

import elasticdl_nb

UNITS = 1


class Linear(keras.Model):
    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Dense(UNITS)

    def call(self, inputs):
        return self.layer(inputs)


def read(columns):
    return tf.stack([columns["a"], columns["b"]]), columns["c"]


def optimizer():
    return keras.optimizers.SGD(0.1)


frame = pd.DataFrame({"a": [1.0, 2.0], "b": [0.0, 1.0], "c": [1.0, 4.0]}).astype("float32")
job = elasticdl_nb.train(
    model_class=Linear, loss="mse", optimizer=optimizer, input_fn=read, data=frame, saved_model=False
)
print(job.status().records_done, (job.folder.zoo / "captured_from_session.py").exists())
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "fintech.py").write_text(ZOO)
    (tmp_path / "data").mkdir()
    source = random.Random(0)
    for part in range(2):
        with open(tmp_path / "data" / f"part-{part}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["a", "b", "c"])
            for _ in range(500):
                a, b = source.random(), source.random()
                writer.writerow([a, b, a + 2 * b])
    return tmp_path


def command(work: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "elasticdl.python.elasticdl.client", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=work,
    )


def train_flags(**more: object) -> list[str]:
    given = {"model_zoo": "zoo", "model_def": "fintech.Linear", "data": "data/*.csv", "output": "out", **more}
    return ["train", *(f"--{name}={value}" for name, value in given.items())]


def processes_of(folder: JobFolder) -> list[psutil.Process]:
    """The processes of the test's jobs: they may have been started before they were told which."""
    home = str(folder.path.parent.parent)
    return [
        process
        for process in psutil.process_iter(["cmdline", "environ"])
        if any(argument.startswith("elasticdl_nb.runtime.") for argument in process.info["cmdline"] or ())
        and (process.info["environ"] or {}).get("ELASTICDL_HOME") == home
    ]


def test_train_evaluate_and_predict_from_the_trained_model_alone(work):
    (work / "out").mkdir()
    flags = train_flags(
        params="learning_rate=0.5",
        num_epochs=3,
        minibatch_size=50,
        validation_data="data/part-1.csv",
        job_name="linear",
    )
    process = command(work, *flags, "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    trained = json.loads(out)
    assert (trained["name"], trained["phase"], trained["records"]) == ("linear", "succeeded", 3000)
    assert trained["metrics"]["loss"] < 0.1
    assert "evaluation at step" in err
    assert trained["output"] == str(work / "out")
    assert not processes_of(JobFolder.find("linear"))

    (work / "zoo" / "fintech.py").unlink()
    evaluated = elasticdl_nb.evaluate(trained_model=work / "out", data=work / "data" / "part-1.csv")
    assert evaluated.metrics["loss"] == pytest.approx(trained["metrics"]["loss"], rel=1e-4)
    predicted = elasticdl_nb.predict(
        trained_model=work / "out", data=work / "data" / "part-0.csv", output=work / "p.csv", job_name="linear"
    )
    assert len(pd.read_csv(predicted.output)) == 500
    assert {job.name for job in elasticdl_nb.jobs()} == {"linear", "linear~1", evaluated.name}


def test_ctrl_c_cancels_the_job_and_leaves_no_process(work):
    process = command(work, *train_flags(num_epochs=100_000, job_name="long"))
    assert process.stderr is not None
    for line in process.stderr:
        if "loss" in line:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Job long was cancelled." in err
    assert elasticdl_nb.attach("long").status().phase == pb.CANCELLED
    psutil.wait_procs(processes_of(JobFolder.find("long")), timeout=5)
    assert not processes_of(JobFolder.find("long"))
    assert not (work / "out").exists()


def test_an_error_in_the_users_code_comes_back_with_its_traceback(work):
    process = command(work, *train_flags(loss="broken_loss"), "--quiet")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "this loss is broken" in err
    assert "fintech.py, line 29" in err
    assert "in broken_loss" in "".join(elasticdl_nb.jobs()[0].logs())
    assert "elasticdl_nb/runtime" not in err
    assert out == ""


def test_a_script_trains_what_it_defines_on_its_own_frame(work):
    (work / "script.py").write_text(SCRIPT)
    answer = subprocess.run(
        [sys.executable, "script.py"], cwd=work, capture_output=True, text=True, env={**os.environ}, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == ["2", "True"]
