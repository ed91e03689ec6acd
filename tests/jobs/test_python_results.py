"""What a Python program gets back from jobs: the model, and the data with predictions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import elasticdl_nb
from elasticdl_nb.job.predictions import with_inputs
from elasticdl_nb.runtime.errors import DataError, JobError, OptionError
from elasticdl_nb.runtime.spec import JobSpec

ZOO = """
import keras
import tensorflow as tf

import elasticdl_nb
import helper


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Dense(1, name="sum")

    def call(self, inputs):
        return self.layer(inputs) * helper.FACTOR


def custom_model():
    return Net()


loss = "mse"


def optimizer():
    return keras.optimizers.SGD(0.01)


@elasticdl_nb.batched
def input_fn(record, mode):
    features = tf.stack([tf.cast(record[name], tf.float32) for name in ("a", "b")], axis=1)
    return features if mode.value == "prediction" else (features, tf.cast(record["y"], tf.float32)[:, None])
"""


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    folder = tmp_path / "zoo"
    folder.mkdir()
    (folder / "sums.py").write_text(ZOO)
    (folder / "helper.py").write_text("FACTOR = 2.0\n")
    return folder


def test_from_a_frame_to_a_frame(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.random(200), "b": random.random(200), "name": [f"row {n}" for n in range(200)]})
    frame["y"] = frame.a + frame.b
    trained = elasticdl_nb.train("sums.custom_model", model_zoo=zoo, data=frame, num_epochs=2, wait=False)
    predicted = elasticdl_nb.predict(trained, data=frame.drop(columns="y"), num_minibatches_per_task=1, wait=False)

    # A module of the same name as one of the zoo's stays what it is.
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "helper.py").write_text("FACTOR = 'mine'\n")
    monkeypatch.syspath_prepend(tmp_path / "own")
    import helper

    path = list(sys.path)
    model = trained.model
    assert sys.path == path and sys.modules["helper"] is helper and "sums" not in sys.modules
    with pytest.raises(JobError, match=r"is a train job; only a predict job has predictions"):
        trained.df()
    with pytest.raises(JobError, match=r"is a predict job; only a train job has a model"):
        predicted.trained_model()

    found = predicted.df()
    assert list(found.columns) == ["a", "b", "name", "prediction"]
    pd.testing.assert_frame_equal(found.drop(columns="prediction"), frame.drop(columns="y"))
    by_hand = model.predict(frame[["a", "b"]].to_numpy("float32"), verbose=0)[:, 0]
    np.testing.assert_allclose(found.prediction, by_hand, rtol=1e-5)
    assert Path(predicted.output).parent == predicted.folder.path

    evaluated = elasticdl_nb.evaluate(trained, data=frame, wait=False)
    assert evaluated.metrics["loss"] == pytest.approx(np.mean((by_hand - frame.y) ** 2), rel=1e-4)

    # In another process, from another folder, from the directory alone.
    code = (
        "import elasticdl_nb, numpy as np\n"
        f"print(elasticdl_nb.load({trained.output!r}).predict(np.ones((1, 2), 'float32'), verbose=0)[0, 0])"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    weights = [value.numpy() for value in model.layer.weights]
    assert float(told) == pytest.approx(2 * (weights[0].sum() + weights[1][0]), rel=1e-5)
    with pytest.raises(OptionError, match="trained_model: no such directory"):
        elasticdl_nb.load(tmp_path / "nowhere")


def prediction(data: Path, **options: object) -> JobSpec:
    return JobSpec.create("predict", trained_model="m", data=str(data), output="unused", **options)


def test_predictions_stand_beside_rows_of_every_form(tmp_path: Path):
    found = pa.table({"prediction": [0.5, 1.5]})
    rows = {"prediction": [7, 8], "t": ["x", "y"]}
    for name in ("d.parquet", "d.csv"):
        pd.DataFrame(rows).to_csv(tmp_path / "d.csv", index=False)
        pd.DataFrame(rows).to_parquet(tmp_path / "d.parquet")
        both = with_inputs(prediction(tmp_path / name), found)
        assert both.to_pydict() == {**rows, "prediction_2": [0.5, 1.5]}
    elasticdl_nb.data.recordio.write_file(str(tmp_path / "d.recordio"), [b"no example", b"at all"])
    assert with_inputs(prediction(tmp_path / "d.recordio"), found) is found
    elasticdl_nb.data.convert(str(tmp_path / "d.csv"), str(tmp_path / "e.recordio"))
    assert with_inputs(prediction(tmp_path / "e.recordio"), found).column_names == ["prediction", "t", "prediction_2"]
    with pytest.raises(DataError, match="2 rows, but there are 1 predictions; has the data changed"):
        with_inputs(prediction(tmp_path / "d.csv"), found.slice(1))
