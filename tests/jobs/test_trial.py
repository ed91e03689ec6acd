"""A model that its strategy cannot train is refused before anything of its job exists."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import elasticdl_nb
from elasticdl_nb.given.trial import needs_trial
from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.spec import JobSpec

MODEL = """
import keras
import tensorflow as tf


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.head = keras.layers.Dense(1)

    def call(self, x):
        return self.head(x)

    def train_step(self, data):
        return super().train_step(data)


def custom_model():
    return Own()


def input_fn(record):
    return tf.reshape(record["x"], [1]), tf.reshape(record["y"], [1])


def loss(labels, outputs):
    return keras.losses.mean_squared_error(labels, outputs)


def optimizer():
    return keras.optimizers.SGD(0.1)
"""


def test_a_refused_job_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", os.fspath(tmp_path / "state"))
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "m.py").write_text(MODEL)
    frame = pd.DataFrame({"x": np.ones(4), "y": np.ones(4)})
    with pytest.raises(ModelError, match=r"Own\.train_step: ParameterServerStrategy makes the steps itself"):
        elasticdl_nb.train(
            model_zoo=tmp_path / "zoo", model_def="m.custom_model", data=frame,
            distribution_strategy="ParameterServerStrategy",
        )  # fmt: skip
    with pytest.raises(ModelError, match=r"alarm: mae<1: the model has no metric mae. It has loss"):
        elasticdl_nb.train(
            model_zoo=tmp_path / "zoo", model_def="m.custom_model", data=frame, prequential=True, alarm=["mae<1"],
        )  # fmt: skip
    assert not (tmp_path / "state" / "elasticdl" / "jobs").exists()


def test_only_what_may_be_refused_is_tried(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(MODEL)
    alone = JobSpec(kind="train")
    together = JobSpec(kind="train", distribution_strategy="AllreduceStrategy")
    assert needs_trial(together, tmp_path)
    assert not needs_trial(alone, tmp_path)
    (tmp_path / "m.py").write_text(MODEL.replace("train_step", "something_else"))
    assert not needs_trial(together, tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "model.pkl").write_bytes(b"\x80keras.src.models.functional")  # what it has is not known
    assert needs_trial(together, tmp_path)
    assert not needs_trial(alone, tmp_path)
    (tmp_path / "state" / "model.pkl").unlink()
    for fading in (JobSpec(kind="train", embedding_options={"a": {"slot_half_life": 5}}), alone):
        (tmp_path / "sql_model.json").write_text("{}" if fading is not alone else '{"slot_half_life": 5}')
        assert needs_trial(fading, tmp_path)
    assert not needs_trial(JobSpec(kind="predict"), tmp_path)
