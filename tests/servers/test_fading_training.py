"""Models whose optimizer's slots fade: trainers and their checkpoints, and what is refused before a job starts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from served_models import FORM, ROWS, batches, loaded
from test_bfloat16_training import rows_of
from test_table_files import SERVED
from test_trainers import ADAM, Notes, a_task, ignore, saved, spec, with_optimizer

import elasticdl_nb
from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers
from elasticdl_nb.runtime.parameters.store import UpdatePolicy
from elasticdl_nb.runtime.ps.inprocess import InProcessServers
from elasticdl_nb.runtime.spec.bounds import Bounds
from elasticdl_nb.runtime.worker.training.servers import ServerTrainer
from elasticdl_nb.runtime.worker.training.tables import TableTrainer
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.session import Session

KINDS = ("tables", "servers")


def a_trainer(
    zoo: Path, kind: str, start: Path | None = None, optimizer: dict[str, Any] = ADAM, bounds: Bounds | None = None
) -> tuple[Any, Any]:
    layers = ServedLayers(threshold=1, seed=3)
    model = loaded(zoo, "functional", layers)
    with_optimizer(model, optimizer)
    for layer in layers.layers:
        layer.spec = dataclasses.replace(layer.spec, bounds=bounds or Bounds(slot_half_life=1))
    trainer: Any
    if kind == "tables":
        trainer = TableTrainer(spec(checkpoint_delta_mb=0), model, Notes(), FORM, ignore, layers)  # type: ignore[arg-type]
        if start is not None:
            trainer.restore(str(start), keep_step=True)
        return trainer, None
    servers = InProcessServers(UpdatePolicy(grads_to_wait=1))
    if start is not None:
        servers.restore(start, keep_version=True)
    trainer = ServerTrainer(spec(use_async=False), model, Notes(), FORM, ignore, layers)  # type: ignore[arg-type]
    trainer.connect(servers, 0)
    return trainer, servers


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_is_continued_bit_for_bit(embedded_zoo: Path, tmp_path: Path, kind: str) -> None:
    whole, _ = a_trainer(embedded_zoo, kind)
    staying, _ = a_trainer(embedded_zoo, kind, bounds=Bounds(ttl_steps=1 << 30))
    for seed in (1, 2):
        for trainer in (whole, staying):
            trainer.train(a_task(), batches(3, seed=seed))
    first, servers = a_trainer(embedded_zoo, kind)
    first.train(a_task(), batches(3, seed=1))
    checkpoint = saved(first, servers, tmp_path)
    first.train(a_task(), batches(3, seed=9))  # which is void
    going_on, _ = a_trainer(embedded_zoo, kind, checkpoint)
    going_on.train(a_task(), batches(3, seed=2))
    for one, other, third in zip(rows_of(whole), rows_of(going_on), rows_of(staying), strict=True):
        np.testing.assert_array_equal(one, other)
        assert (one != third).any(), "slots have faded"


def test_slots_fade_in_the_same_way_in_one_process_and_on_servers(embedded_zoo: Path) -> None:
    one, other = (a_trainer(embedded_zoo, kind)[0] for kind in KINDS)
    for trainer in (one, other):
        trainer.train(a_task(), batches(6, seed=1))
    for mine, theirs in zip(rows_of(one), rows_of(other), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_trainers_refuse_optimizers_that_keep_nothing_that_could_fade(embedded_zoo: Path, kind: str) -> None:
    for name, says in (("SGD", "SGD: without momentum, it keeps nothing"), ("Ftrl", "Ftrl: it computes each weight")):
        with pytest.raises(ModelError, match=rf"embedding .*: slot_half_life does not work with the optimizer {says}"):
            a_trainer(embedded_zoo, kind, optimizer={"class_name": name, "config": {"learning_rate": 0.1}})


def test_jobs_are_refused_before_they_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "served.py").write_text(SERVED)
    random = np.random.default_rng(0)
    frame = {name: random.integers(0, ROWS, 200) for name in ("u", "v", "i")}
    pq.write_table(pa.table({**frame, "y": (frame["i"] % 2).astype(np.float32)}), tmp_path / "data.parquet")
    with pytest.raises(ModelError, match="embedding items: slot_half_life does not work with the optimizer SGD"):
        elasticdl_nb.train(
            model_zoo=str(tmp_path / "zoo"), model_def="served", data=str(tmp_path / "data.parquet"), wait=True,
            embedding_options="items: slot_half_life=50", progress=False,
        )  # fmt: skip
    with Session(str(tmp_path / "data.duckdb"), str(tmp_path / "models")) as session:
        session.run("CREATE TABLE t AS SELECT i AS id, i * 2.5 AS price FROM range(100) r(i)")
        with pytest.raises((SqlError, ModelError), match="slot_half_life does not work with the optimizer Ftrl"):
            session.run(
                "SELECT * FROM t TO TRAIN DNNRegressor WITH hidden_units=[8], optimizer=Ftrl "
                "COLUMN EMBEDDING(CATEGORY_ID(id, 200), 4, 'sum', slot_half_life=20) LABEL price INTO prices"
            )
    assert not list((tmp_path / "home").rglob("spec.json"))
