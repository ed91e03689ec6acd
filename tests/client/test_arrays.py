"""Data as `fit` takes it: arrays, nested or not, and datasets of batches."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf

from elasticdl_nb import Mode
from elasticdl_nb.given.arraydata import ArrayData
from elasticdl_nb.given.arrayfiles import hold_out, write_arrays
from elasticdl_nb.given.arrays import Arrays, check_same_form
from elasticdl_nb.given.datakinds import is_arrays
from elasticdl_nb.runtime.errors import ElasticDLError, OptionError
from elasticdl_nb.tables.arrayrecord import RecordError, read_record, record_text
from elasticdl_nb.tables.zoo.arrayfunction import ArrayFunction

random = np.random.default_rng(0)
X, Y, W = random.normal(size=(96, 4)), random.normal(size=96).astype("float32"), random.random(96)
IDS, TEXTS = random.integers(0, 9, (96, 3)), np.array(["a", "bb", "c"])[random.integers(0, 3, (96, 1))]


class Batches(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, place: int) -> Any:
        part = slice(16 * place, 16 * place + 16)
        return X[part], Y[part]


def dataset(*parts: Any, size: int = 16) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(parts if len(parts) > 1 else parts[0]).batch(size)


def read(value: Any, folder: Path, mode: Mode = Mode.TRAINING) -> Any:
    """What the input function makes of a value, once it was written and read."""
    arrays = Arrays(value, "data", "train")
    write_arrays(arrays, folder / "data.arrow")
    function = ArrayFunction(read_record(record_text(arrays.record)))
    table = pa.ipc.open_file(str(folder / "data.arrow")).read_all()
    shapes = {one.name: one.shape for one in arrays.record.columns}
    columns = {}
    for name in table.column_names:
        values = table[name].combine_chunks()
        while pa.types.is_fixed_size_list(values.type):
            values = values.flatten()
        columns[name] = tf.reshape(tf.constant(values.to_numpy(zero_copy_only=False)), (-1, *shapes[name]))
    # Through a dataset, as in a worker: it has tuples, but no lists.
    return next(iter(tf.data.Dataset.from_tensors(columns).map(lambda one: function(one, mode))))


def as_arrays(structure: Any) -> Any:
    return keras.tree.map_structure(np.asarray, structure)


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (X, X),
        ((X, Y), (X, Y)),
        ((X, Y, W), (X, Y, W)),
        ((X, None), X),
        (({"numbers": X, "ids": IDS}, Y), ({"numbers": X, "ids": IDS}, Y)),
        (([X, IDS], {"one": Y, "two": W}), ((X, IDS), {"one": Y, "two": W})),
        (((X, IDS), [Y, Y], [W, W]), ((X, IDS), (Y, Y), (W, W))),
        (([X, {"a": [X, X]}], Y), ((X, {"a": (X, X)}), Y)),
        ((X, Y, {"one": W}), (X, Y, {"one": W})),
        ((tf.constant(X), tf.constant(Y)), (X, Y)),
        ((random.random((5, 2, 3, 1)), np.arange(5)), None),
        ((X > 0, IDS.astype("uint8")), (X > 0, IDS.astype("uint8"))),
        ((pd.DataFrame(X), pd.Series(Y)), (X, Y)),
        ((pd.DataFrame({"a": Y > 0, "b": Y}), Y), (np.stack([Y > 0, Y], 1), Y)),
        ((dict(pd.DataFrame({"a": Y, "b": W})), pd.Series(Y)), ({"a": Y, "b": W}, Y)),
        (dataset(X, Y), (X, Y)),
        (dataset({"x": X}, Y, W, size=40), ({"x": X}, Y, W)),
        (dataset(X), X),
        (Batches(), (X, Y)),
    ],
)
def test_a_model_gets_what_fit_would_give_it(tmp_path: Path, value: Any, seen: Any) -> None:
    assert is_arrays(value)
    found = as_arrays(read(value, tmp_path))
    seen = as_arrays(value if seen is None else seen)
    keras.tree.assert_same_structure(found, seen)
    for mine, other in zip(keras.tree.flatten(found), keras.tree.flatten(seen), strict=True):
        floating = other.dtype.kind == "f"
        assert mine.dtype == (np.float32 if floating else other.dtype)  # as `fit` casts them
        np.testing.assert_array_equal(mine, other.astype(mine.dtype))


def test_texts_stay_texts(tmp_path: Path) -> None:
    for texts in (TEXTS, TEXTS.astype(object), np.char.encode(TEXTS, "utf-8"), pd.Series(TEXTS[:, 0])):
        features, _ = read((texts, Y), tmp_path)
        assert features.dtype == tf.string
        assert [value.decode() for value in np.ravel(features.numpy())] == TEXTS[:, 0].tolist()


def test_a_prediction_takes_features_alone(tmp_path: Path) -> None:
    for inputs in ((X, IDS), [X, IDS]):
        (only,) = read((inputs, Y), tmp_path, Mode.PREDICTION)
        np.testing.assert_array_equal(only[1], IDS)
    assert read(X, tmp_path, Mode.PREDICTION).shape == (96, 4)


@pytest.mark.parametrize(
    "value",
    ["a.csv", ["a.csv", "b.csv"], ("a.csv",), pd.DataFrame(X), [pd.DataFrame(X)], (pd.DataFrame(X), pd.DataFrame(X)),
     [], {}, None, 3, [1, 2], keras.Model],
)  # fmt: skip
def test_paths_and_frames_are_no_arrays(value: Any) -> None:
    assert not is_arrays(value)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        ((X, Y[:95]), "train", "data: arrays of different lengths: x has 96, y has 95"),
        ((X[:0], Y[:0]), "train", "data: the arrays have no records"),
        ((X[:, :0], Y), "train", r"data: x has no values: its shape is \(96, 0\)"),
        ((X, np.float32(3)), "train", r"data: y is the single value 3\.0"),
        ((X, Y, W, W), "train", "a tuple of 4: give"),
        ((None, Y), "train", "data: x is None"),
        ((X, Y), "predict", "data: give x alone"),
        ((np.array([[1, "a"]] * 3, object), Y[:3]), "train", "data: x has Python objects"),
        ((X.astype(complex), Y), "train", "data: x has values of type complex128"),
        ((np.array(["2026-01-01"], "datetime64[D]"), Y[:1]), "train", r"data: x has values of type datetime64\[D\]"),
        (tf.ragged.constant([[1], [2, 3]]), "train", r"data: x is a RaggedTensor.*\.to_tensor"),
        ((pd.DataFrame({"a": ["x", "y"], "b": [1, 2]}), Y[:2]), "train", "columns that are no numbers; give the frame"),
        (dataset(X, Y).repeat(), "train", r"data: the dataset has no end: leave out its repeat\(\)"),
        (dataset(X[:0]), "train", "data: the dataset has no records"),
    ],
)
def test_what_cannot_be_used_is_refused(value: Any, kind: Any, message: str) -> None:
    assert is_arrays(value)
    with pytest.raises(OptionError, match=message):
        Arrays(value, "data", kind)


def test_batches_of_different_shapes_are_refused(tmp_path: Path) -> None:
    made = tf.data.Dataset.from_generator(
        lambda: iter([(np.ones((2, 3)), np.ones(2)), (np.ones((2, 4)), np.ones(2))]),
        output_types=("float32", "float32"),
    )
    with pytest.raises(OptionError, match=re.escape("has x: float32 (n, 3) in its first batch, but x: float32 (n, 4)")):
        write_arrays(Arrays(made, "data", "train"), tmp_path / "data.arrow")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ElasticDLError, match="data: x has bytes that are no text"):
        write_arrays(Arrays((np.array([b"\xff"], object), Y[:1]), "data", "train"), tmp_path / "data.arrow")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": (X, Y), "label": "y"}, "label: names a column of a frame, which arrays do not have"),
        ({"data": (X, Y), "input_fn": "m.f"}, "input_fn: arrays are what the model gets"),
        ({"data": (X, Y), "sample_weight_column": "w"}, r"sample_weight_column: .*data=\(x, y, sample_weight\)"),
        ({"data": (X, Y), "validation_data": "a.csv"}, "validation_data: give arrays, as for data"),
        ({"training_data": "a.csv", "validation_data": (X, Y)}, "data: give arrays, as for validation_data"),
    ],
)
def test_options_that_arrays_make_meaningless_are_refused(options: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ArrayData.of("train", options)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (X, r"has no y; give \(x, y\)"),
        (([X], Y), r"x is x\.0: float64 \(n, 4\), but in training it was x: float64 \(n, 4\)"),
        ((X[:, 0], Y), r"has x: float64 \(n\), but in training there was x: float64 \(n, 4\)"),
        ((TEXTS, Y), r"has x: string \(n, 1\), but in training there was x: float64"),
        ((X, {"a": Y}), r"y is y\.a: float32 \(n\), but in training it was y: float32 \(n\)"),
    ],
)
def test_arrays_of_another_form_than_in_training_are_refused(value: Any, message: str) -> None:
    trained = Arrays((X, Y), "data", "train").record
    with pytest.raises(OptionError, match=message):
        check_same_form(Arrays(value, "data", "evaluate").record, trained, "data")
    check_same_form(Arrays((X.astype("float32"), Y, W), "data", "evaluate").record, trained, "data")
    check_same_form(Arrays(X, "data", "predict").record, trained, "data", labels=False)


@pytest.mark.parametrize("batched", [False, True])
def test_a_share_is_held_out(tmp_path: Path, batched: bool) -> None:
    given = dataset(X, np.arange(96), size=10) if batched else (X, np.arange(96))
    assert write_arrays(Arrays(given, "data", "train"), tmp_path / "data.arrow") == 96
    hold_out(tmp_path / "data.arrow", tmp_path / "validation.arrow", 0.25, 1)
    rest, held = (pa.ipc.open_file(str(tmp_path / f"{name}.arrow")).read_all() for name in ("data", "validation"))
    assert held.num_rows == 24
    assert sorted(rest["y"].to_pylist() + held["y"].to_pylist()) == list(range(96))
    for table in (rest, held):
        np.testing.assert_array_equal(np.array(table["x"].to_pylist()), X[table["y"].to_numpy()])
    assert {path.name for path in tmp_path.iterdir()} == {"data.arrow", "validation.arrow"}


@pytest.mark.parametrize(
    "change", [("version", 2), ("features", "z"), ("features", {"set": []}), ("columns", [{"name": "x"}]), ("more", 1)]
)
def test_a_damaged_record_is_refused(change: Any) -> None:
    text = json.dumps({**json.loads(record_text(Arrays((X, Y), "data", "train").record)), change[0]: change[1]})
    with pytest.raises(RecordError):
        read_record(text)


SCRIPT = """
import keras
import numpy as np
import pandas as pd

import elasticdl_nb

random = np.random.default_rng(0)
X, Y, W = random.normal(size=(96, 4)), random.normal(size=96).astype("float32"), random.random(96)
x, y = {"numbers": X, "ids": random.integers(0, 9, (96, 3))}, {"one": Y, "two": X[:, 0]}
weights = {"one": W, "two": W}

keras.utils.set_random_seed(1)
numbers, ids = keras.Input((4,), name="numbers"), keras.Input((3,), dtype="int64", name="ids")
hidden = keras.layers.Concatenate()([numbers, keras.layers.Flatten()(keras.layers.Embedding(9, 2)(ids))])
outputs = {name: keras.layers.Dense(1, name=name)(hidden) for name in ("one", "two")}
model = keras.Model({"numbers": numbers, "ids": ids}, outputs)
model.compile(keras.optimizers.SGD(0.05), {"one": "mse", "two": "mae"}, loss_weights={"one": 0.5, "two": 1.0})

job = elasticdl_nb.train(
    model, data=(x, y, weights), validation_data=(x, y), num_epochs=3, minibatch_size=16, shuffle=False
)
model.fit(x, y, sample_weight=weights, batch_size=16, epochs=3, shuffle=False, verbose=0)
for mine, other in zip(job.model.get_weights(), model.get_weights(), strict=True):
    np.testing.assert_allclose(mine, other, atol=1e-5)
theirs = model.evaluate(x, y, batch_size=16, verbose=0, return_dict=True)["loss"]
np.testing.assert_allclose([job.metrics["loss"], job.history["val_loss"][-1]], theirs, rtol=1e-4)
np.testing.assert_allclose(elasticdl_nb.evaluate(job, data=(x, y)).metrics["loss"], theirs, rtol=1e-4)
predicted, expected = elasticdl_nb.predict(job, data=x).df(), model.predict(x, verbose=0)
assert list(predicted) == ["one", "two"], predicted
np.testing.assert_allclose(predicted["one"], expected["one"][:, 0], atol=1e-5)
for wrong in (pd.DataFrame(X), X):
    try:
        elasticdl_nb.predict(job, data=wrong)
    except elasticdl_nb.OptionError as error:
        print(error)
"""


def test_jobs_on_arrays_do_what_keras_does(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "data: the model was trained on arrays; give arrays, for example frame.to_numpy()"
    assert second.startswith("data: x is x: float64 (n, 4), but in training it was x.numbers: float64 (n, 4); x.ids")
