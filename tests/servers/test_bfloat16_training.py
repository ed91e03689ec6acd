"""Models whose tables hold bfloat16: trainers, their checkpoints, and whole jobs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from served_models import FORM, ROWS, batches, loaded
from test_table_files import SERVED
from test_trainers import ADAM, Notes, a_task, ignore, saved, spec, with_optimizer

import elasticdl_nb
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers
from elasticdl_nb.runtime.parameters.checkpoints import deltas
from elasticdl_nb.runtime.parameters.store import UpdatePolicy
from elasticdl_nb.runtime.ps.inprocess import InProcessServers
from elasticdl_nb.runtime.worker.training.servers import ServerTrainer
from elasticdl_nb.runtime.worker.training.tables import TableTrainer

KINDS = ("tables", "servers")


def a_trainer(
    zoo: Path, kind: str, start: Path | None = None, row_dtype: str = "bfloat16", keep_step: bool = True
) -> tuple[Any, Any]:
    layers = ServedLayers(threshold=1, seed=3)
    model = loaded(zoo, "functional", layers)
    with_optimizer(model, ADAM)
    for layer in layers.layers:
        layer.spec = dataclasses.replace(layer.spec, row_dtype=row_dtype)
    trainer: Any
    if kind == "tables":
        options = {"checkpoint_delta_mb": 0}
        trainer = TableTrainer(spec(**options), model, Notes(), FORM, ignore, layers)  # type: ignore[arg-type]
        if start is not None:
            trainer.restore(str(start), keep_step=keep_step)
        return trainer, None
    servers = InProcessServers(UpdatePolicy(grads_to_wait=1), deltas=deltas.Deltas(3))
    if start is not None:
        servers.restore(start, keep_version=keep_step)
    trainer = ServerTrainer(spec(use_async=False), model, Notes(), FORM, ignore, layers)  # type: ignore[arg-type]
    trainer.connect(servers, 0)
    return trainer, servers


def rows_of(trainer: Any) -> list[np.ndarray]:
    layers = trainer._layers
    found = []
    for layer in layers.layers:
        ids, rows = (np.concatenate(some) for some in zip(*layer.exported(), strict=True))
        found.append(rows[np.argsort(ids)])
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_is_repeated_and_continued_bit_for_bit(embedded_zoo: Path, tmp_path: Path, kind: str) -> None:
    whole, _ = a_trainer(embedded_zoo, kind)
    for seed in (1, 2):
        whole.train(a_task(), batches(3, seed=seed))
    first, servers = a_trainer(embedded_zoo, kind)
    first.train(a_task(), batches(3, seed=1))
    checkpoint = saved(first, servers, tmp_path)
    first.train(a_task(), batches(3, seed=9))  # which is void
    going_on, _ = a_trainer(embedded_zoo, kind, checkpoint)
    going_on.train(a_task(), batches(3, seed=2))
    for one, other in zip(rows_of(whole), rows_of(going_on), strict=True):
        np.testing.assert_array_equal(one, other)
        assert not (one.view(np.uint32) & 0xFFFF).any(), "they are bfloat16"
    features = next(batches(1, seed=5))[0]
    in_tables = np.asarray(whole.model(features))
    expected = rows_of(whole)
    whole.finish()
    weights = {variable.path: variable.numpy() for variable in whole.model.weights}
    matrices = [weights[path] for path in weights if path.endswith("embeddings")]
    assert len(matrices) == len(expected)
    for matrix in matrices:
        assert matrix.dtype == np.float32 and not (matrix.view(np.uint32) & 0xFFFF).any()
    np.testing.assert_allclose(np.asarray(whole.model(features)), in_tables, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("before", "after"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_a_job_begins_with_rows_of_the_other_type(embedded_zoo: Path, tmp_path: Path, before: str, after: str) -> None:
    for kind in KINDS:
        trainer, servers = a_trainer(embedded_zoo, kind, row_dtype=before)
        trainer.train(a_task(), batches(3))
        checkpoint = saved(trainer, servers, tmp_path / kind)
        for other in KINDS:
            going_on, _ = a_trainer(embedded_zoo, other, checkpoint, after, keep_step=False)
            for one, two in zip(rows_of(trainer), rows_of(going_on), strict=True):
                np.testing.assert_allclose(one, two, rtol=0 if after == "float32" else 2**-8)
            going_on.train(a_task(), batches(1))


@pytest.mark.parametrize("strategy", ["Local", "ParameterServerStrategy"])
def test_a_job_writes_rows_as_they_were_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str) -> None:
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    (tmp_path / "zoo").mkdir()
    source = SERVED.replace('name="users"', 'name="users", row_dtype="bfloat16"')
    (tmp_path / "zoo" / "served.py").write_text(source)
    random = np.random.default_rng(0)
    frame = {name: random.integers(-(2**40), 2**40, 2000) for name in ("u", "v")} | {
        "i": random.integers(0, ROWS, 2000)
    }
    pq.write_table(pa.table({**frame, "y": (frame["i"] % 2).astype(np.float32)}), tmp_path / "data.parquet")
    workers = {"num_ps": 2, "num_workers": 1} if strategy != "Local" else {}
    elasticdl_nb.train(
        model_zoo=str(tmp_path / "zoo"), model_def="served", output=str(tmp_path / "model"), minibatch_size=100,
        distribution_strategy=strategy, table_files_mb=0, data=str(tmp_path / "data.parquet"), wait=True,
        progress=False, embedding_options="items: row_dtype=bfloat16, min_count=2", **workers,
    )  # fmt: skip
    described = json.loads((tmp_path / "model" / "tables" / "tables.json").read_text())
    assert described["format"] == 3
    assert [(one["spec"]["name"], one["dtype"]) for one in described["tables"]] == [
        ("users", "bfloat16"), ("items", "bfloat16")
    ]  # fmt: skip
    model = elasticdl_nb.load(str(tmp_path / "model"))
    features = {"user": np.stack([frame["u"], frame["v"]], 1), "item": frame["i"][:, None]}
    predicted = keras.ops.convert_to_numpy(model(features))
    assert np.isfinite(predicted).all() and np.ptp(predicted) > 0.01
