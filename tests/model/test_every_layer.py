"""Every layer of Keras: trained as `fit` trains it, and it predicts the same once the files it read are gone."""

from __future__ import annotations

import inspect
import os
import sys
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from elasticdl_nb.runtime.data.chunks import Metadata
from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.runtime.model.loading.loader import ModelDefinition, load
from elasticdl_nb.runtime.model.saving.opening import open_model
from elasticdl_nb.runtime.model.saving.trained import write_trained_model
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.worker.training.local import LocalTrainer

RECORDS, BATCH = 16, 8
RANDOM = np.random.default_rng(0)
WORDS = ["a film", "so good", "bad", "a\tb", "film"]


class Session:
    """A session with a master that nobody listens to."""

    generation = 0

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def inputs(shape: tuple[int, ...], dtype: str) -> Any:
    if dtype == "string":
        return np.array(WORDS, object)[RANDOM.integers(0, len(WORDS), (RECORDS, *shape))]
    if dtype == "int64":
        return RANDOM.integers(0, 9, (RECORDS, *shape))
    return RANDOM.random((RECORDS, *shape)).astype("float32")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """What the zoo's module reads."""
    folder = tmp_path / "files"
    folder.mkdir()
    np.save(folder / "values.npy", RANDOM.random((40, 4)).astype("float32"))
    (folder / "words.txt").write_text("\n".join(WORDS))
    return folder


@pytest.fixture
def zoo(tmp_path: Path, files: Path) -> Path:
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    text = Path(__file__).with_name("zoo_of_layers.py").read_text()
    (zoo / "all_layers.py").write_text(text.replace("FOLDER", os.fspath(files)))
    return zoo


def as_its_author(zoo: Path) -> ModuleType:
    """The zoo's module, imported without the project."""
    spec = util.spec_from_file_location("of_author", zoo / "all_layers.py")
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_layer_has_a_recipe(zoo: Path) -> None:
    module = as_its_author(zoo)
    every = {
        kind.__name__ for kind in vars(keras.layers).values()
        if inspect.isclass(kind) and issubclass(kind, keras.layers.Layer) and kind.__module__.startswith("keras.")
    }  # fmt: skip
    tried = {name for _, _, branches in module.KINDS.values() for name in branches}
    assert every == tried | module.ABSTRACT.keys()


@pytest.mark.parametrize("kind", ["vectors", "sequences", "images", "volumes", "numbers", "strings", "waves"])
def test_layers_predict_the_same_without_their_files(
    tmp_path: Path, files: Path, zoo: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = as_its_author(zoo)
    shape, dtype, _ = module.KINDS[kind]
    x, y = inputs(shape, dtype), RANDOM.random((RECORDS, 1)).astype("float32")
    x = tf.constant(x)

    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    of_fit = module.custom_model(kind)
    of_fit.compile(module.optimizer(), "mse", jit_compile=False)
    of_fit.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)

    keras.backend.clear_session()
    sys.modules.pop("all_layers", None)
    spec = JobSpec(kind="train", model_def="all_layers", params={"kind": kind}, minibatch_size=BATCH)
    keras.utils.set_random_seed(1)
    loaded = load(ModelDefinition.from_spec(spec, os.fspath(zoo)))
    data = loaded.batches(
        tf.data.Dataset.from_tensors({"x": x, "y": tf.constant(y)}), Mode.TRAINING, Metadata(["x", "y"], {}),
        form="columns", batch_size=BATCH, shuffle_seed=None, task_records=RECORDS,
    )  # fmt: skip
    loaded.build(data.element_spec[0])
    trainer = LocalTrainer(spec, loaded, Session(), data.element_spec, lambda step, loss: None)  # type: ignore[arg-type]
    for batch in data:
        trainer._make_step(batch)
    for mine, other in zip(loaded.model.get_weights(), of_fit.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-5)

    output = tmp_path / "trained"
    write_trained_model(
        output, spec=spec, loaded=loaded, zoo=os.fspath(zoo), metrics={}, step=2, job_name="j", saved_model=False
    )
    for file in files.iterdir():
        file.unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    opened = open_model(output)(x, training=False)
    np.testing.assert_allclose(opened, loaded.model(x, training=False), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(opened, of_fit(x, training=False), rtol=1e-3, atol=1e-2)
