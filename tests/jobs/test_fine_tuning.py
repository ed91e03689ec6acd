"""Fine-tuning from a script with real jobs: what the script did to its objects is what the workers train."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

SCRIPT = """
import json
import sys
import warnings

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import layers, mixed_precision
from sklearn.preprocessing import StandardScaler

import elasticdl_nb

mixed_precision.set_global_policy("mixed_bfloat16")
frame = pd.DataFrame({"word": [1, 2, 3, 4] * 8, "x": [10.0, 20.0, 30.0, 40.0] * 8, "y": [1.0, 2.0, 3.0, 4.0] * 8})


def prepare(scaler, data):
    scaler.fit(data)


scaler = StandardScaler()
prepare(scaler, frame[["x"]].to_numpy())

base = keras.Sequential([keras.Input((5,)), layers.Dense(4, activation="relu", name="inner")], name="base")
base.trainable = False
word, x = keras.Input((1,), dtype="int32", name="word"), keras.Input((1,), name="x")
embedding = layers.Embedding(6, 4, name="vectors")
joined = layers.Concatenate()([layers.Flatten()(embedding(word)), x])
model = keras.Model({"word": word, "x": x}, layers.Dense(1, dtype="float32", name="head")(base(joined)))
embedding.set_weights([np.full((6, 4), 0.25)])
embedding.trainable = False
base.trainable = True
base.set_weights([np.full((5, 4), 0.5), np.zeros(4)])


def read(columns):
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert scaler.mean_[0] == 25.0
    scaled = (tf.cast(columns["x"], tf.float32) - scaler.mean_[0]) / scaler.scale_[0]
    features = {"word": tf.reshape(tf.cast(columns["word"], tf.int32), (1,)), "x": tf.reshape(scaled, (1,))}
    return features, tf.cast(tf.reshape(columns["y"], (1,)), tf.float32)


def optimizer():
    return keras.optimizers.SGD(RATE)


said = []
for name, RATE, scratch in (("kept", 0.0, False), ("tuned", 0.1, False), ("scratch", 0.0, True)):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        elasticdl_nb.train(
            model_def=model, loss="mse", optimizer=optimizer, input_fn=read, data=frame, saved_model=False,
            minibatch_size=4, from_scratch=scratch, output=f"{sys.argv[1]}/{name}", wait=True,
        )
    said.append([str(one.message) for one in caught])
print(json.dumps(said))
"""


def test_what_a_script_did_to_its_model_is_what_is_trained(tmp_path: Path) -> None:
    (tmp_path / "tune.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "tune.py", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    weights = {name: load_file(tmp_path / name / "parameters.safetensors") for name in ("kept", "tuned", "scratch")}

    def one(job: str, part: str) -> np.ndarray:
        return next(value for name, value in weights[job].items() if part in name)

    assert np.all(one("kept", "vectors/embeddings") == 0.25) and np.all(one("kept", "inner/kernel") == 0.5)
    assert np.all(one("tuned", "vectors/embeddings") == 0.25)  # frozen
    assert not np.allclose(one("tuned", "inner/kernel"), 0.5)  # unfrozen after the model was built
    assert not np.allclose(one("scratch", "vectors/embeddings"), 0.25)
    assert not np.allclose(one("scratch", "inner/kernel"), 0.5)
    said = json.loads(done.stdout.splitlines()[-1])
    assert all(any("starts from the notebook's weights of `model`" in text for text in said[job]) for job in (0, 1))
    assert not any("starts from the notebook's weights" in text for text in said[2])
