"""A trained model is what it was, whatever has become of the files that its code reads."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.loading.loader import LoadedModel, ModelDefinition, load
from elasticdl_nb.runtime.model.saving import kept
from elasticdl_nb.runtime.model.saving.opening import open_model
from elasticdl_nb.runtime.model.saving.trained import read_trained_model, write_trained_model
from elasticdl_nb.runtime.spec import JobSpec

MODULE = """
import keras
import numpy as np
import tensorflow as tf

DATA = np.load("FOLDER/data.npy")
MEAN = DATA.mean()
labels = keras.layers.StringLookup()
labels.adapt(open("FOLDER/words.txt").read().split())
scaled = keras.layers.Normalization()
scaled.adapt(DATA)
WORDS = []
for line in open("FOLDER/words.txt"):
    WORDS.append(line.strip())
number_of = tf.lookup.StaticHashTable(
    tf.lookup.KeyValueTensorInitializer(WORDS, tf.range(len(WORDS), dtype=tf.int64)), -1
)

class Scale(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.by = np.load("FOLDER/data.npy").std(0)

    def call(self, x):
        return x * self.by

def functional():
    x, word = keras.Input((3,)), keras.Input((), dtype="string")
    n = keras.layers.Normalization()
    n.adapt(np.load("FOLDER/data.npy"))
    known = keras.layers.StringLookup(vocabulary="FOLDER/words.txt", output_mode="one_hot")(word)
    h = keras.layers.Rescaling(float(MEAN))(n(x))
    return keras.Model([x, word], keras.layers.Dense(1)(keras.layers.concatenate([h, known])))

class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.by = np.load("FOLDER/data.npy").std(0)
        self.bins = tf.Variable(np.load("FOLDER/data.npy").mean(0), trainable=False)
        self.known = keras.layers.StringLookup(output_mode="multi_hot")
        self.known.adapt(open("FOLDER/words.txt").read().split())
        self.offset = self.add_weight(shape=(), initializer="ones", name="offset")
        self.heads = [keras.layers.Dense(2), keras.layers.Dense(1)]

    def call(self, inputs):
        x, word = inputs
        h = keras.ops.concatenate([x * self.by - self.bins, self.known(word[:, None])], -1)
        return self.heads[1](self.heads[0](h)) + self.offset

class Plain(keras.Model):
    def __init__(self):
        super().__init__()
        self.by = np.load("FOLDER/data.npy").std(0)
        self.head = keras.layers.Dense(1)

    def call(self, inputs):
        return self.head(inputs[0] * self.by)

def input_fn(record):
    return record, record

loss = "mse"

def optimizer():
    return keras.optimizers.SGD(0.1)
"""
FORM = [tf.TensorSpec([None, 3]), tf.TensorSpec([None], tf.string)]
X = [tf.constant(np.random.default_rng(0).random((5, 3)), tf.float32), tf.constant(list("abcad"))]


class Files:
    """What the module reads, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.put(np.random.default_rng(1).random((40, 3)).astype("float32"), "a\nb\nc")

    def put(self, data: np.ndarray, words: str) -> None:
        np.save(self.folder / "data.npy", data)
        (self.folder / "words.txt").write_text(words)

    def remove(self) -> None:
        for file in self.folder.iterdir():
            file.unlink()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "files")


@pytest.fixture
def zoo(tmp_path: Path, files: Files) -> Path:
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    (zoo / "kept_by.py").write_text(MODULE.replace("FOLDER", os.fspath(files.folder)))
    return zoo


def made(zoo: Path, name: str) -> LoadedModel:
    sys.modules.pop("kept_by", None)
    loaded = load(ModelDefinition(os.fspath(zoo), f"kept_by.{name}"))
    loaded.build(FORM)
    return loaded


@pytest.mark.parametrize("name", ["functional", "Own"])
def test_predictions_stay_when_files_change_or_go(
    tmp_path: Path, zoo: Path, files: Files, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = made(zoo, name)
    expected = loaded.model(X)
    spec, output = JobSpec(kind="train", model_def=f"kept_by.{name}"), tmp_path / "trained"
    write_trained_model(
        output, spec=spec, loaded=loaded, zoo=os.fspath(zoo), metrics={}, step=1, job_name="j", saved_model=False
    )
    monkeypatch.chdir(tmp_path / "files")
    np.testing.assert_array_equal(open_model(output)(X), expected)
    files.put(np.random.default_rng(2).random((40, 3)).astype("float32") * 9, "x\nc\na\ny\nz")
    np.testing.assert_array_equal(open_model(output)(X), expected)
    files.remove()
    np.testing.assert_array_equal(open_model(output)(X), expected)

    # What the input function may use is the same, too.
    _, definition = read_trained_model(output)
    sys.modules.pop("kept_by", None)
    module: Any = load(definition)._module
    assert module.WORDS == ["a", "b", "c"]
    assert module.labels.get_vocabulary() == ["[UNK]", "c", "b", "a"]
    assert module.number_of.lookup(tf.constant(["c", "x"])).numpy().tolist() == [2, -1]
    np.testing.assert_allclose(module.scaled(module.DATA).numpy().mean(0), 0, atol=1e-5)
    sys.modules.pop("kept_by", None)


def test_values_of_a_layer_come_back_and_a_layer_that_cannot_take_them_is_named(zoo: Path, files: Files) -> None:
    first = made(zoo, "Plain").model
    text = kept.kept_of(first)
    files.put(np.ones((4, 3), "float32"), "a")
    second = made(zoo, "Plain").model
    second.head.set_weights(first.head.get_weights())
    assert not np.allclose(first(X), second(X))
    kept.give(second, text)
    np.testing.assert_array_equal(first(X), second(X))

    lookup = keras.Sequential([keras.layers.IntegerLookup(vocabulary=[1, 2], name="ids")])
    small = keras.Sequential([keras.layers.IntegerLookup(max_tokens=2, name="ids")])
    with pytest.raises(ModelError, match="ids cannot take back what it kept"):
        kept.give(small, kept.kept_of(lookup))


def test_random_states_go_on_and_new_layers_are_left_alone() -> None:
    def model(*more: Any) -> keras.Model:
        layers = [keras.Input((4,)), keras.layers.Discretization(num_bins=2, name="bins"), *more]
        return keras.Sequential([*layers, keras.layers.Rescaling(1.0), keras.layers.Dropout(0.5, seed=3, name="drop")])

    first = model()
    first.layers[0].adapt(np.arange(8.0))
    first.layers[-1](np.ones((2, 4), "float32"), training=True)
    text = kept.kept_of(first)
    second, wider = model(), model(keras.layers.Dense(4))
    kept.give(second, text)
    dropped = [one.layers[-1](np.ones((9, 4), "float32"), training=True) for one in (first, second)]
    np.testing.assert_array_equal(*dropped)
    kept.give(wider, text)
    assert wider.get_layer("bins").bin_boundaries == first.get_layer("bins").bin_boundaries
