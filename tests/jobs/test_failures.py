"""Processes that die and code that raises: the job goes on with exact counts, or fails with the cause."""

from __future__ import annotations

import itertools
from pathlib import Path

import fintech_zoo
import numpy as np
import pandas as pd
import pytest
from job_tools import flags, kill, status_of, wait_for_status, workers
from safetensors.numpy import load_file

import elasticdl_nb
from elasticdl_nb.runtime.data import reader
from elasticdl_nb.runtime.errors import JobFailed
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

ZOO = '''
import os
import time

import keras
import tensorflow as tf


class Slow(keras.Model):
    """Counts, in a file, the records whose predictions were made."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, inputs, training=False):
        return self.dense(inputs)

    def default_loss(self, labels, outputs):
        return tf.reduce_mean(tf.square(outputs - labels))

    def default_optimizer(self, learning_rate=0.05):
        return keras.optimizers.SGD(learning_rate)

    def default_input(self, record):
        return tf.reshape(record["x"], [1]), tf.reshape(record["y"], [1])


class Pause(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(0.01)


def pauses():
    return [Pause()]


class PauseAfterBatches:
    def process(self, predictions, worker):
        time.sleep(0.05)


class FailsAtStep(Slow):
    def call(self, inputs, training=False):
        outputs = super().call(inputs)
        if training:
            outputs = tf.py_function(self.explode, [outputs], tf.float32)
            outputs.set_shape([None, 1])
        return outputs

    calls = 0

    def explode(self, outputs):
        FailsAtStep.calls += 1
        if FailsAtStep.calls == 5:
            raise ValueError("the fifth step is too much")
        return outputs


class FailsToConstruct(Slow):
    def __init__(self):
        super().__init__()
        raise ValueError("no such luck")


def fails_on_a_record(record):
    def look(value):
        if value[0] > 700:
            raise ValueError(f"I do not like {value[0]:.0f}")
        return value

    x = tf.numpy_function(look, [tf.reshape(record["x"], [1])], tf.float32)
    return tf.ensure_shape(x, [1]), tf.reshape(record["y"], [1])
'''


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "slow.py").write_text(ZOO)
    x = np.arange(1000, dtype=np.float32)
    frame = pd.DataFrame({"x": x / 1000, "y": 2 * x / 1000})
    frame.to_parquet(tmp_path / "data.parquet")
    pd.DataFrame({"x": x, "y": x}).to_parquet(tmp_path / "large.parquet")
    return tmp_path


def training(work: Path, **more: object) -> dict[str, object]:
    given = {"model_zoo": work / "zoo", "model_def": "slow.Slow", "data": work / "data.parquet"}
    return {**given, "output": work / "out", "saved_model": False, **more}


def parameters(output: Path) -> dict[str, np.ndarray]:
    return load_file(output / "parameters.safetensors")


def test_a_killed_worker_goes_on_from_the_checkpoint_as_if_nothing_had_happened(work):
    given = training(work, minibatch_size=10, num_minibatches_per_task=5, num_epochs=4, shuffle=False)
    undisturbed = elasticdl_nb.train(**given | {"output": work / "calm"}, job_name="calm", wait=False)
    job = elasticdl_nb.train(
        **given, callbacks="pauses", checkpoint_steps=50, validation_data=work / "data.parquet", evaluation_steps=100,
        job_name="killed", wait=False,
    )  # fmt: skip
    kill(workers(wait_for_status("killed", lambda s: s.step >= 170, "it is trained for 170 steps"))[0].pid)
    job.wait()
    status = job.status()
    assert (status.step, status.records_done, workers(status)[0].restarts) == (400, 4000, 1)
    assert [(item.step, item.records) for item in job.evaluations] == [(n * 100, 1000) for n in range(1, 5)]
    assert any("training continues from the checkpoint of step " in event.text for event in status.events)
    assert all(one[0] < other[0] for one, other in itertools.pairwise(job.losses))
    undisturbed.wait()
    calm, killed = parameters(work / "calm"), parameters(work / "out")
    assert list(calm) == list(killed)
    for name in calm:
        np.testing.assert_allclose(killed[name], calm[name], rtol=1e-6)

    predicting = elasticdl_nb.predict(
        trained_model=work / "out", data=work / "data.parquet", output=work / "p.csv", minibatch_size=10,
        num_minibatches_per_task=2, num_workers=2, prediction_outputs_processor="PauseAfterBatches", job_name="predict",
        wait=False,
    )  # fmt: skip
    status = wait_for_status("predict", lambda s: s.records_done >= 200, "200 records have predictions")
    kill(next(worker for worker in workers(status) if worker.records_done).pid)
    predicting.wait()
    status = predicting.status()
    assert (status.records_done, status.tasks_done) == (1000, 50)
    assert sum(worker.restarts for worker in workers(status)) == 1
    kernel, bias = sorted(killed.values(), key=np.ndim, reverse=True)
    expected = pd.read_parquet(work / "data.parquet")["x"].to_numpy() * kernel[0, 0] + bias[0]
    np.testing.assert_allclose(pd.read_csv(work / "p.csv")["prediction"], expected, rtol=1e-5)


def test_errors_of_the_users_code_are_told_in_its_own_words_and_lines(commands, work):
    wrong = {
        "step": dict(model_def="slow.FailsAtStep", minibatch_size=10),
        "construction": dict(model_def="slow.FailsToConstruct"),
        "record": dict(input_fn="fails_on_a_record", data=work / "large.parquet", minibatch_size=10, on_nan="warn"),
    }
    messages = {
        "step": "the fifth step is too much",
        "construction": "no such luck",
        "record": "I do not like ",
    }
    lines = (work / "zoo" / "slow.py").read_text().splitlines()
    places = {name: next(n for n, line in enumerate(lines, 1) if text in line) for name, text in messages.items()}
    running = {
        name: commands.start("train", *flags(**training(work, **more, job_name=name, output=work / name)))
        for name, more in wrong.items()
    }
    for name, command in running.items():
        ended = command.end()
        assert ended.code == 1, ended.err
        assert f"job {name} failed: " in ended.err
        assert messages[name] in ended.err
        assert f'slow.py", line {places[name]}, in ' in ended.err
        assert messages[name] in status_of(name).failure.traceback
        log = JobFolder.find(name).log_path("worker", 0).read_text()
        assert "Traceback" in log
        assert messages[name] in log
        assert not (work / name).exists()


def test_a_chunk_found_corrupt_while_reading_and_an_output_lost_meanwhile_fail_the_job(work, tmp_path, monkeypatch):
    zoo = tmp_path / "fintech"
    fintech_zoo.write(zoo)
    offset = fintech_zoo.corrupt(zoo / "train" / "part-1.recordio", 2)
    monkeypatch.setattr(reader, "_VERIFIED_BYTES", 0)
    unread = elasticdl_nb.train(
        model_zoo=zoo, data=zoo / "train" / "*.recordio", output=work / "out", job_name="unread", wait=False,
        **fintech_zoo.MODEL,
    )  # fmt: skip
    (tmp_path / "place").mkdir()
    unwritten = elasticdl_nb.train(
        **training(work, output=tmp_path / "place" / "out", job_name="unwritten"), wait=False
    )
    (tmp_path / "place").rmdir()
    (tmp_path / "place").touch()
    with pytest.raises(JobFailed, match=f"part-1.recordio: corrupt RecordIO chunk 2 .* at byte {offset}: its checksum"):
        unread.wait()
    with pytest.raises(JobFailed, match=f"{tmp_path}/place"):
        unwritten.wait()
    assert not (work / "out").exists()
