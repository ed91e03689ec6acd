"""Files that a model's code reads by name: jobs find them from any folder, and leave that folder alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

SCRIPT = """
import os
import sys

import keras
import pandas as pd
import tensorflow as tf

import elasticdl_nb


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Dense(1)

    def call(self, inputs):
        return self.layer(inputs)


class PredictionOutputsProcessor:
    def process(self, predictions, worker_id):
        with open("seen.txt", "a") as file:
            file.write(open("words/vocab.txt").read())


def read(columns):
    return tf.fill((1,), float(len(open("words/vocab.txt").read())) + columns["a"]), columns["a"]


def optimizer():
    return keras.optimizers.SGD(0.0)


frame = pd.DataFrame({"a": [1.0, 2.0]}).astype("float32")
elasticdl_nb.train(
    model_class=Net, loss="mse", optimizer=optimizer, input_fn=read, data=frame, saved_model=False,
    output=os.path.abspath("trained"), wait=True,
)
trained = os.path.abspath("trained")
os.chdir(sys.argv[1])
job = elasticdl_nb.predict(trained_model=trained, data=frame, output="predicted", wait=True)
print(job.folder.path)
"""


def test_files_that_are_read_at_call_time_are_found_from_another_folder(tmp_path: Path) -> None:
    notebook, elsewhere = tmp_path / "notebook", tmp_path / "elsewhere"
    (notebook / "words").mkdir(parents=True)
    elsewhere.mkdir()
    (notebook / "words" / "vocab.txt").write_text("abc")
    (notebook / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py", str(elsewhere)], cwd=notebook, capture_output=True, text=True, timeout=580,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    work = Path(done.stdout.splitlines()[-1]) / "work"
    assert [path.name for path in elsewhere.iterdir()] == ["predicted"]
    assert (work / "words" / "vocab.txt").read_text() == "abc" and (work / "seen.txt").read_text().startswith("abc")
    assert {path.name for path in notebook.iterdir()} == {"words", "script.py", "trained"}
    assert pq.read_table(elsewhere / "predicted").num_rows == 2
