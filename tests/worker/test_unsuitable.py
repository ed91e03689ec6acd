"""What a model cannot take is said in one sentence: which layer or label, which value, where."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import fitting
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fitting import Here

import elasticdl_nb
from elasticdl_nb.runtime.data.reader import open_reader
from elasticdl_nb.runtime.errors import DataError, JobFailed
from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.runtime.worker.predictor import Predictor
from elasticdl_nb.runtime.worker.unsuitable import place_of
from elasticdl_nb.runtime.worker.warned import tell_warnings

ITEMS = """
def custom_model():
    given = {"s": keras.Input((6,), dtype="int64", name="s"), "k": keras.Input((1,), dtype="int64", name="k")}
    rows = keras.layers.Embedding(10, 4, name="items")(given["s"]), keras.layers.Embedding(5, 4)(given["k"])
    return keras.Model(given, dense(1, 2)(keras.layers.Concatenate(axis=1)(rows)[:, 0]))
def input_fn(r): return {"s": r["s"], "k": tf.reshape(r["k"], [1])}, tf.reshape(r["y"], [1])
loss = "mse"
"""
TWO = "def custom_model():\n    i = keras.Input((4,)); return keras.Model(i, dense(2, 1, 'softmax')(i))\n"
CASES = {
    "ids": (
        ITEMS,
        r"embedding items: id 1\d of the feature 's' is not one of its 10 \(0 to 9\); give the layer a larger",
    ),
    "ids, the only feature": (
        """
        def custom_model():
            i = keras.Input((6,), dtype="int64")
            return keras.Model(i, dense(1, 2)(keras.layers.Flatten()(keras.layers.Embedding(10, 4, name="only")(i))))
        def input_fn(r): return r["s"] + 5, tf.reshape(r["y"], [1])
        loss = "mse"
        """,
        r"embedding only: id [12]\d is not one of its 10 \(0 to 9\)",
    ),
    "texts": (
        "def input_fn(r): return r['x'], r['t']\nloss = 'mse'",
        r"labels: they are texts, such as '[a-z ]+', and mse",
    ),
    "another shape": (
        TWO + "def input_fn(r): return r['x'], r['x'][:3]\nloss = 'categorical_crossentropy'",
        r"labels: each has the shape \(3,\), and the model's output \(2,\), which categorical_crossentropy cannot",
    ),
    "a class too many": (
        TWO + "def input_fn(r): return r['x'], r['k']\nloss = 'sparse_categorical_crossentropy'",
        r"labels: 2 is not one of the 2 classes \(0 to 1\) that the output has",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_training_says_what_does_not_suit_the_model(tmp_path: Path, name: str) -> None:
    text, message = CASES[name]
    fitting.write(tmp_path, text)
    with pytest.raises(DataError, match=message):
        Here(tmp_path).train()


def test_so_do_evaluation_and_prediction(tmp_path: Path) -> None:
    fitting.write(tmp_path, ITEMS)
    here = Here(tmp_path)
    predictor = Predictor(here.loaded, here.session, worker=0, folder=None, spec=here.spec)  # type: ignore[arg-type]
    for work in (here.evaluate, lambda: predictor.predict(0, iter(here.batches(Mode.PREDICTION)))):
        with pytest.raises(DataError, match=CASES["ids"][1]):
            work()


def test_layers_take_ids_again_afterwards(tmp_path: Path) -> None:
    fitting.write(tmp_path, ITEMS)
    here = Here(tmp_path)
    with pytest.raises(DataError):
        here.train()
    good = {"s": np.ones((2, 6), np.int64), "k": np.ones((2, 1), np.int64)}
    assert here.loaded.call_model(good, False).shape == (2, 1)
    assert "call" not in vars(here.loaded.model.get_layer("items"))


def test_another_error_stays_what_it_is(tmp_path: Path) -> None:
    fitting.write(tmp_path, "def loss(labels, outputs): return tf.linalg.cholesky(outputs)")
    with pytest.raises(Exception, match="Cholesky") as failed:
        Here(tmp_path).train()
    assert not isinstance(failed.value, DataError)


def test_what_keras_warns_about_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[tuple[str, str]] = []
    fitting.write(tmp_path, "loss = 'categorical_crossentropy'")
    here = Here(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        tell_warnings(lambda level, text: notes.append((level, text)))
        warnings.warn("of the model's own code", stacklevel=1)
        here.train()
    ((level, text), *_) = notes
    assert level == "warning"
    assert text.startswith("Keras: In loss categorical_crossentropy, expected y_pred.shape to be")
    assert not any("own code" in text for _, text in notes)


def test_a_value_is_found_in_its_file(tmp_path: Path) -> None:
    path = str(tmp_path / "d.parquet")
    columns = {
        "user": [1, 2, 3, 4],
        "item": [5, 6, 77, 8],
        "both": [[1, 2], [3, 1], [2, 4], [99, 5]],
        "id": list("ab4c"),
    }
    pq.write_table(pa.table(columns), path)
    reader = open_reader((path,), {}, "data", None)
    for value, feature, place in (
        (77, "item", "column item of record 2 of d.parquet"), (99, "", "column both of record 3 of d.parquet"),
        (4, "id", "column id of record 2 of d.parquet"), (4, "", "one of records 1 to 3 of d.parquet"),
        (5, "item", "one of records 1 to 3 of d.parquet"),
    ):  # fmt: skip
        assert place_of(value, feature, reader, [(path, 1, 4)]) == f"{place}, counted from 0"


def test_a_job_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    (zoo / "m.py").write_text(
        fitting.PRELUDE + "def custom_model():\n"
        "    i = keras.Input((1,), dtype='int64')\n"
        "    rows = keras.layers.Embedding(10, 4, name='items')(i)\n"
        "    return keras.Model(i, dense(1, 2)(keras.layers.Flatten()(rows)))\n"
        "def input_fn(r): return tf.reshape(r['item'], [1]), tf.reshape(r['y'], [1])\n"
        "loss = 'mse'\n"
    )
    frame = pd.DataFrame({"item": [*range(9), 77], "y": np.zeros(10, np.float32)})
    with pytest.raises(JobFailed) as failed:
        elasticdl_nb.train(model_zoo=zoo, model_def="m.custom_model", data=frame, minibatch_size=4, wait=True)
    said = re.sub(r"\s+", " ", str(failed.value))
    assert "embedding items: id 77 is not one of its 10 (0 to 9)" in said
    assert "(column item of record 9 of" in said
