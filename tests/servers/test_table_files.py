"""Trained models whose embeddings are in files: they predict, and begin other jobs, as ordinary ones do."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from served_models import FORM, ROWS, batches, loaded
from test_trainers import KINDS, Notes, a_task, a_trainer, ignore, spec, table_trainer, weights

import elasticdl_nb
from elasticdl_nb.runtime.errors import DataError, ModelError
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers
from elasticdl_nb.runtime.model.saving.beginning import checkpoint_of
from elasticdl_nb.runtime.model.saving.opening import open_model
from elasticdl_nb.runtime.model.saving.trained import write_trained_model
from elasticdl_nb.runtime.parameters.mapped.reading import MappedTables
from elasticdl_nb.runtime.worker.training.tables import TableTrainer
from elasticdl_nb.runtime.worker.training.workercheckpoint import note_on_start


def trained(zoo: Path, name: str, keep: list[str] | None = None) -> TableTrainer:
    """A trained model whose rows are in its tables, except for those of layers that are not to be kept there."""
    trainer = table_trainer(zoo, name)
    trainer.train(a_task(), batches(5))
    trainer._layers.unserve(keep=trainer._layers.too_large(0) if keep is None else keep)
    return trainer


def write(trainer: TableTrainer, zoo: Path, directory: Path, saved_model: bool = False, **options: Any) -> list[str]:
    return write_trained_model(
        directory, spec=spec(model_zoo=str(zoo), **options), loaded=trainer._loaded, zoo=os.fspath(zoo), metrics={},
        step=5, job_name="job", saved_model=saved_model, layers=trainer._layers,
    )  # fmt: skip


def test_a_model_with_files_predicts_what_the_ordinary_one_does(embedded_zoo: Path, tmp_path: Path) -> None:
    features = next(batches(1, seed=9))[0]
    for name, keep in (("functional", None), ("functional", ["first"]), ("shared", None), ("Subclassed", None)):
        trainer = trained(embedded_zoo, name, keep)
        directory = tmp_path / f"{name}-{keep}"
        assert write(trainer, embedded_zoo, directory) == []
        model = open_model(directory)
        trainer._layers.unserve()
        expected = np.asarray(trainer.model(features))
        np.testing.assert_allclose(np.asarray(model(features)), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(model.predict(features, verbose=0), expected, rtol=1e-5, atol=1e-6)


def test_the_saved_model_takes_rows(embedded_zoo: Path, tmp_path: Path) -> None:
    trainer = trained(embedded_zoo, "shared")
    features = next(batches(1, seed=9))[0]
    expected = np.asarray(trainer._loaded.call_model(features, training=False))  # the form is known from now on
    assert write(trainer, embedded_zoo, tmp_path / "m", saved_model=True) == []
    exported = tf.saved_model.load(str(tmp_path / "m" / "saved_model")).signatures
    ids = exported["ids"](**features)
    rows = {f"rows_{name[4:]}": tf.constant(trainer._rows.lookup("table", one.numpy())) for name, one in ids.items()}
    assert len(rows) == 2
    (outputs,) = exported["serving_default"](**features, **rows).values()
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


def test_any_job_begins_with_a_model_in_files(embedded_zoo: Path, tmp_path: Path) -> None:
    trainer = trained(embedded_zoo, "functional")
    write(trainer, embedded_zoo, tmp_path / "m")
    expected = weights(trainer)
    start = checkpoint_of(str(tmp_path / "m"), tmp_path / "start", "job")
    for kind in KINDS:
        other, _ = a_trainer(embedded_zoo, kind, start)
        tables = ["first", "second"] if kind != "ordinary" else []
        assert note_on_start(start, other.model, tables).endswith("with a new optimizer")
        for one, value in zip(weights(other), expected, strict=True):
            np.testing.assert_allclose(one, value, rtol=1e-6)
    layers = ServedLayers(threshold=1, seed=3)
    without = TableTrainer(spec(), loaded(embedded_zoo, "Subclassed", layers), Notes(), FORM, ignore, layers)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="shares no variable"):
        note_on_start(start, without.model, ["subclassed/embedding"])
    without.restore(str(start), keep_step=False)


def test_what_does_not_fit_is_refused(embedded_zoo: Path, tmp_path: Path) -> None:
    trainer = trained(embedded_zoo, "shared")
    write(trainer, embedded_zoo, tmp_path / "m")
    description = tmp_path / "m" / "tables" / "tables.json"
    written = description.read_text()
    description.write_text(written.replace('"name": "table"', '"name": "other"'))
    with pytest.raises(DataError, match="not the file that the trained model names"):
        open_model(tmp_path / "m")
    layers = ServedLayers(files=MappedTables(tmp_path / "m" / "tables"))
    loaded(embedded_zoo, "shared", layers)
    with pytest.raises(ModelError, match="a table for the embedding other"):
        layers.check_all_found()
    description.write_text(written)
    rows = next((tmp_path / "m" / "tables").glob("*.rows.npy"))
    rows.write_bytes(rows.read_bytes()[:-4])
    with pytest.raises(DataError, match="is damaged"):
        open_model(tmp_path / "m")


SERVED = """
import keras, tensorflow as tf
import elasticdl_nb

def custom_model():
    given = {name: keras.Input((n,), dtype="int64", name=name) for name, n in (("user", 2), ("item", 1))}
    users = elasticdl_nb.Embedding(4, combiner="sum", name="users")(given["user"])
    items = keras.layers.Flatten()(keras.layers.Embedding(1000, 4, name="items")(given["item"]))
    return keras.Model(given, keras.layers.Dense(1)(keras.layers.Concatenate()([users, items])))

@elasticdl_nb.batched
def input_fn(columns, mode):
    features = {"user": tf.stack([columns["u"], columns["v"]], 1), "item": columns["i"][:, None]}
    return features if mode == elasticdl_nb.Mode.PREDICTION else (features, columns["y"][:, None])

def loss(labels, outputs):
    return tf.reduce_mean((labels - outputs) ** 2)

def optimizer():
    return keras.optimizers.SGD(0.1)
"""


def test_jobs_on_two_servers_write_what_jobs_and_this_process_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "served.py").write_text(SERVED)
    random = np.random.default_rng(0)
    frame = {name: random.integers(-(2**40), 2**40, 2000) for name in ("u", "v")} | {
        "i": random.integers(0, ROWS, 2000)
    }
    pq.write_table(pa.table({**frame, "y": (frame["i"] % 2).astype(np.float32)}), tmp_path / "data.parquet")
    common: dict[str, Any] = {"data": str(tmp_path / "data.parquet"), "wait": True, "progress": False}
    elasticdl_nb.train(
        model_zoo=str(tmp_path / "zoo"), model_def="served", output=str(tmp_path / "model"), num_ps=2, num_workers=1,
        distribution_strategy="ParameterServerStrategy", minibatch_size=100, table_files_mb=0,
        envs={"ELASTICDL_SERVE_FROM_BYTES": "1"}, eval_metrics_fn="mse", **common,
    )  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "model" / "tables").glob("*.ids.npy")) == [
        f"table-{table:03d}.{part}-of-2.ids.npy" for table in (0, 1) for part in (0, 1)
    ]
    elasticdl_nb.predict(trained_model=str(tmp_path / "model"), output=str(tmp_path / "out.parquet"), **common)
    model = elasticdl_nb.load(str(tmp_path / "model"))
    features = {"user": np.stack([frame["u"], frame["v"]], 1), "item": frame["i"][:, None]}
    expected = model.predict(features, batch_size=500, verbose=0)[:, 0]
    predicted = pq.read_table(tmp_path / "out.parquet")["prediction"].to_numpy()
    np.testing.assert_allclose(predicted, expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(expected) > 0.01
    # Ids that no one has seen have initial values, not an error.
    unseen = {"user": np.array([[5, 6]]), "item": np.array([[1]])}
    assert np.isfinite(keras.ops.convert_to_numpy(model(unseen))).all()
    evaluated = elasticdl_nb.evaluate(trained_model=str(tmp_path / "model"), **common).metrics
    labels = (frame["i"] % 2).astype(np.float32)
    assert abs(evaluated["mse"] - float(((expected - labels) ** 2).mean())) < 1e-4


def test_a_model_that_is_no_longer_used_lets_go_of_its_files(embedded_zoo: Path, tmp_path: Path) -> None:
    write(trained(embedded_zoo, "functional"), embedded_zoo, tmp_path / "m")
    features = next(batches(1, seed=9))[0]
    for _ in range(2):  # as a server of predictions swaps versions
        model = open_model(tmp_path / "m")
        model(features)
        model.predict(features, verbose=0)
        assert mapped_below(tmp_path)
        del model
        gc.collect()
    assert not mapped_below(tmp_path)


def mapped_below(folder: Path) -> list[str]:
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if os.fspath(folder) in line]
