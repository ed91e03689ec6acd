"""A trained model is opened with the settings of its training, and leaves those of the process as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from elasticdl_nb.runtime.model.contract import ModelDefinition
from elasticdl_nb.runtime.model.loading.loader import load
from elasticdl_nb.runtime.model.saving.opening import open_model
from elasticdl_nb.runtime.model.saving.trained import write_trained_model
from elasticdl_nb.runtime.serving.finding import newest
from elasticdl_nb.runtime.serving.model import ServedModel
from elasticdl_nb.runtime.spec import JobSpec

MODEL = """
import keras
{setting}

class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1, kernel_initializer="ones")

    def call(self, features):
        return self.dense(features)

def loss(labels, outputs):
    return outputs

def input_fn(record):
    return record
"""
X = np.array([[2049.5, 1.0]], np.float32)  # more digits than float16 has


@pytest.fixture(autouse=True)
def _policy() -> Iterator[None]:
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


def trained(write: Callable[[str, str], Any], folder: Path, name: str, setting: str = "") -> Path:
    write(f"zoo/{name}/policies.py", MODEL.format(setting=setting))
    zoo = str(folder / "zoo" / name)
    spec = JobSpec.create("train", model_def="policies.Net", data="x", output="y", input_fn="policies.input_fn")
    loaded = load(ModelDefinition.from_spec(spec, zoo))
    loaded.build(tf.TensorSpec([None, 2], tf.float32))
    write_trained_model(
        folder / name, spec=spec, loaded=loaded, zoo=zoo, metrics={}, step=0, job_name="j", saved_model=False
    )
    return folder / name


def test_settings_reach_neither_into_a_model_nor_out_of_it(write: Any, tmp_path: Path) -> None:
    plain = trained(write, tmp_path, "plain")
    half = trained(write, tmp_path, "half", "keras.config.set_dtype_policy('mixed_float16')")
    for opened in (lambda path: open_model(path)(X), lambda path: ServedModel(str(path)).predict({"inputs": X})):
        keras.config.set_dtype_policy("float64")
        found = [
            np.asarray(one if not isinstance(one, dict) else one["prediction"])
            for one in map(opened, (plain, half, plain))
        ]
        assert [one.dtype.name for one in found] == ["float32", "float16", "float32"]
        assert found[0] == found[2] == 2050.5 != found[1]
        assert keras.config.dtype_policy().name == "float64"


def test_numbers_of_versions_have_63_bits(tmp_path: Path) -> None:
    for number in (3, 2**63 - 1, 2**63):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "trained_model.pb").touch()
    assert newest(str(tmp_path)).number == 2**63 - 1  # type: ignore[union-attr]
