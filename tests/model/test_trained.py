"""What a training job leaves can be read, moved and used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import keras
import numpy as np
import pytest
import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError, OptionError
from elasticdl_nb.runtime.model.loading.loader import ModelDefinition, load
from elasticdl_nb.runtime.model.saving.trained import MESSAGE, read_trained_model, write_trained_model
from elasticdl_nb.runtime.model.saving.weights import load_optimizer, load_weights, save_optimizer, save_weights
from elasticdl_nb.runtime.model.saving.zoofiles import zoo_digest
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage.publish import Publication

MODEL = """
import keras

def custom_model(units=2):
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(units), keras.layers.BatchNormalization()])

def input_fn(record): return record, record
def loss(labels, outputs): return labels - outputs
def optimizer(lr=0.1): return keras.optimizers.Adam(lr)
"""


def small(dtype: str = "float32", units: int = 2, name: str | None = None) -> keras.Model:
    layers = [keras.layers.Dense(units, dtype=dtype, name=name), keras.layers.Dense(1, dtype=dtype)]
    return keras.Sequential([keras.Input((3,)), *layers])


def filled(model: Any) -> Any:
    for number, weight in enumerate(model.weights):
        weight.assign(np.full(weight.shape, number + 0.5))
    return model


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_weights_come_back(tmp_path: Path, dtype: str) -> None:
    path = str(tmp_path / "w.safetensors")
    variables = save_weights(filled(small(dtype)), path)
    assert [variable.dtype for variable in variables] == [dtype] * 4
    target = small(dtype)
    load_weights(target, path, variables)
    for number, weight in enumerate(target.weights):
        np.testing.assert_array_equal(np.asarray(weight.value, np.float64), np.full(weight.shape, number + 0.5))


def test_weights_go_by_name_else_by_place(tmp_path: Path) -> None:
    path = str(tmp_path / "w.safetensors")
    variables = save_weights(filled(small(name="first")), path)
    assert [variable.name.rpartition("/")[2] for variable in variables] == ["kernel", "bias"] * 2
    renamed = small(name="another")
    load_weights(renamed, path, variables)
    assert float(renamed.weights[3].value[0]) == 3.5
    same = small(name="first")
    reordered = [variables[3], variables[0], variables[2], variables[1]]
    for target, saved in zip(same.weights, variables, strict=True):
        target._path = saved.name
    load_weights(same, path, reordered)
    assert float(same.weights[3].value[0]) == 3.5


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = str(tmp_path / "w.safetensors")
    variables = save_weights(small(), path)
    with pytest.raises(ModelError, match=r"shape \[3, 2\], but .*kernel of the model has \[3, 5\]"):
        load_weights(small(units=5), path, variables)
    with pytest.raises(ModelError, match="4 variables, but the model has 2"):
        load_weights(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), path, variables)


def test_equal_names_are_told_apart(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3), keras.layers.Dense(3)])
    for weight in model.weights:
        weight._path = "same"
    names = [variable.name for variable in save_weights(model, str(tmp_path / "w"))]
    assert names == ["same", "same#2", "same#3", "same#4"]


def test_an_optimizer_goes_on_where_it_was(tmp_path: Path) -> None:
    def make() -> tuple[Any, Any]:
        model, optimizer = filled(small()), keras.optimizers.Adam(0.1)
        optimizer.build(model.trainable_variables)
        return model, optimizer

    def step(model: Any, optimizer: Any) -> None:
        optimizer.apply_gradients([(tf.ones_like(weight), weight) for weight in model.trainable_variables])

    path = str(tmp_path / "o.safetensors")
    model, optimizer = make()
    step(model, optimizer)
    variables = save_optimizer(optimizer, path)
    weights = save_weights(model, str(tmp_path / "w"))
    other, restored = make()
    load_optimizer(restored, path, variables)
    load_weights(other, str(tmp_path / "w"), weights)
    assert int(restored.iterations.value) == 1
    for each in ((model, optimizer), (other, restored)):
        step(*each)
    for one, two in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(one.value, two.value)


def write_one(directory: str, zoo: Path, saved_model: bool = True) -> list[str]:
    spec = JobSpec.create(
        "train", model_def="net.model", params="units=4, lr=0.5", data="x", output="y", input_fn="net.model.input_fn"
    )
    loaded = load(ModelDefinition.from_spec(spec, str(zoo)))
    filled(loaded.model)
    return write_trained_model(
        Path(directory), spec=spec, loaded=loaded, zoo=str(zoo), metrics={"loss": 0.5}, step=7, job_name="j",
        saved_model=saved_model,
    )  # fmt: skip


@pytest.fixture
def zoo(write: Any, tmp_path: Path) -> Path:
    write("zoo/net/model.py", MODEL)
    write("zoo/.git/config", "secret")
    return tmp_path / "zoo"


SUBCLASSED = """
import keras
import tensorflow as tf

class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.table = keras.layers.Embedding(4, 2)

    def call(self, features):
        letters = tf.cast(tf.strings.length(features["word"]), tf.float32)
        return self.table(features["id"] - 2**24) * (features["weight"] * letters)[:, None]
"""


def test_a_served_model_takes_the_types_that_it_was_trained_with(write: Any, tmp_path: Path) -> None:
    write("zoo/net/model.py", MODEL.replace("def custom_model", "def other") + SUBCLASSED)
    spec = JobSpec.create("train", model_def="net.model.Net", data="x", output="y", input_fn="net.model.input_fn")
    loaded = load(ModelDefinition.from_spec(spec, str(tmp_path / "zoo")))
    form = {"id": tf.int64, "weight": tf.float32, "word": tf.string}
    loaded.build({name: tf.TensorSpec([None], dtype) for name, dtype in form.items()})
    out = str(tmp_path / "out")
    notes = write_trained_model(
        Path(out),
        spec=spec,
        loaded=loaded,
        zoo=str(tmp_path / "zoo"),
        metrics={},
        step=0,
        job_name="j",
        saved_model=True,
    )
    assert notes == []
    served = tf.saved_model.load(f"{out}/saved_model")
    # One that float32 cannot tell from its neighbour.
    features = {"id": tf.constant([2**24 + 1], tf.int64), "weight": tf.constant([0.5]), "word": tf.constant(["ab"])}
    np.testing.assert_allclose(served.serve(features), loaded.model.table(tf.constant([1])))


@pytest.mark.parametrize("where", ["local", "memory"])
def test_a_trained_model_is_complete_by_itself(zoo: Path, tmp_path: Path, where: str) -> None:
    directory = str(tmp_path / "out") if where == "local" else "memory://bucket/out"
    output = Publication(tmp_path, directory, overwrite=False, marker=MESSAGE)
    notes: list[str] = []
    output.publish(lambda at: notes.extend(write_one(str(at), zoo)))
    assert notes == []
    message, definition = read_trained_model(directory)
    assert (message.model_def, message.step, message.saved_model) == ("net.model", 7, "saved_model")
    assert message.model_zoo_digest == zoo_digest(definition.zoo) == zoo_digest(zoo)
    assert message.versions["keras"] == keras.__version__
    assert dict(message.metrics) == {"loss": 0.5}
    assert definition.params == {"units": 4, "lr": 0.5}
    assert definition.input_fn == "net.model.input_fn"
    assert not (Path(definition.zoo) / ".git").exists()
    again = load(definition)
    load_weights(again.model, definition.weights, message.variables)
    assert float(again.model.weights[1].value[0]) == 1.5
    if where == "local":
        served = tf.saved_model.load(f"{directory}/saved_model")
        np.testing.assert_allclose(served.serve(tf.ones([1, 3])), again.model(tf.ones([1, 3])), rtol=1e-5)
    else:
        fsspec.filesystem("memory").rm("/bucket", recursive=True)


def test_a_model_that_cannot_be_exported_is_still_saved(write: Any, tmp_path: Path) -> None:
    write("zoo/net/model.py", MODEL + "\nclass Unbuilt(keras.Model):\n    def call(self, x): return x\n"
          "def custom_model(units): return Unbuilt()\n")  # fmt: skip
    notes = write_one(str(tmp_path / "out"), tmp_path / "zoo")
    assert len(notes) == 1 and notes[0].startswith("no SavedModel was exported")
    assert read_trained_model(tmp_path / "out")[0].saved_model == ""
    assert not (tmp_path / "out" / "saved_model").exists()


def test_an_incomplete_directory_is_refused(zoo: Path, tmp_path: Path) -> None:
    write_one(str(tmp_path / "out"), zoo, saved_model=False)
    for path, message in (("absent", "no such directory"), ("zoo", "is not a trained model")):
        with pytest.raises(OptionError, match=message) as caught:
            read_trained_model(tmp_path / path)
        assert caught.value.option == "trained_model"
    (tmp_path / "out" / "parameters.safetensors").unlink()
    with pytest.raises(OptionError, match="incomplete: the parameters file"):
        read_trained_model(tmp_path / "out")
    (tmp_path / "out" / "trained_model.pb").write_bytes(b"\xff\xff\xff")
    with pytest.raises(OptionError, match="damaged"):
        read_trained_model(tmp_path / "out")
    with pytest.raises(OptionError, match="is not a trained model"):
        read_trained_model("memory://nothing/here")


def test_reading_and_checking_load_no_tensorflow() -> None:
    code = (
        "import sys, elasticdl_nb.runtime.model.saving.trained, elasticdl_nb.runtime.model.reading.modelcheck;"
        "import elasticdl_nb.given.zoosource;"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
