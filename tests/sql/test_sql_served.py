"""Models of SQL whose tables are files: predicted with, explained, continued, and served as they predict."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy

import elasticdl_nb
from elasticdl_nb.runtime.model.saving.trained import read_trained_model
from elasticdl_nb.runtime.parameters.mapped.reading import MappedTables
from elasticdl_nb.sql.session import Session

COLUMNS = "age, size, born, EMBEDDING(CATEGORY_ID(id, 200), 4, 'sum', min_count=2), INDICATOR(CATEGORY_HASH(city, 10))"
SELECT = "SELECT id, age, size, city, born, price FROM people"
SOME = "WITH hidden_units=[8], train.epoch=3, train.batch_size=20"
WITH = f"{SOME}, train.table_files_mb=0"
STAY = "optimizer.learning_rate=1e-12"
SERVERS = "train.num_ps=2, train.distribution_strategy=ParameterServerStrategy"


def ask(url: str, body: Any) -> Any:
    try:
        with urllib.request.urlopen(f"{url}:predict", json.dumps(body).encode(), timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.loads(error.read())["error"]


def rows_of(path: Path) -> dict[int, float]:
    """The first value of each row of a trained model's only embedding, in files or among its weights."""
    definition = read_trained_model(path)[1]
    if not definition.tables:
        weights = safetensors.numpy.load_file(definition.weights)
        (matrix,) = (rows for name, rows in weights.items() if name.endswith("/embeddings"))
        return dict(enumerate(matrix[:, 0].tolist()))
    tables = MappedTables(definition.tables)
    (name,) = tables
    return {
        key: value for ids, rows in tables.export(name)
        for key, value in zip(ids.tolist(), rows[:, 0].tolist(), strict=True)
    }  # fmt: skip


def test_models_with_files_are_predicted_with_explained_continued_and_served(tmp_path: Path) -> None:
    with Session(str(tmp_path / "data.duckdb"), str(tmp_path / "models")) as session:
        session.run(
            "CREATE TABLE people AS SELECT i AS id, CASE WHEN i % 9 = 0 THEN NULL ELSE 18 + i * 7 % 60 END AS age, "
            "sin(i) AS size, CASE WHEN i % 5 = 0 THEN NULL ELSE ['a', 'b', 'c'][1 + i % 3] END AS city, "
            "CASE WHEN i % 7 = 0 THEN NULL ELSE DATE '2001-01-01' + i::INT END AS born, "
            "i * 2.5 AS price FROM range(100) r(i)"
        )
        results = session.run(
            f"{SELECT} TO TRAIN DNNRegressor {WITH} COLUMN {COLUMNS} LABEL price INTO prices;"
            f"{SELECT} TO TRAIN DNNRegressor {SOME}, {STAY} LABEL price USING prices INTO whole;"
            f"{SELECT} TO TRAIN DNNRegressor {WITH}, {STAY}, {SERVERS} LABEL price USING whole INTO served;"
            f"{SELECT} TO PREDICT found.price USING served;"
            f"{SELECT} TO EXPLAIN served WITH rows=20, steps=2 USING integrated_gradients"
        )
        trained = [Path(session.store.path, one) for one in ("prices", "whole", "served")]
        # At the default of table_files_mb, a model this small has rows as weights.
        assert [bool(read_trained_model(one)[1].tables) for one in trained] == [True, False, True]
        first, *continued = map(rows_of, trained)
        assert len(first) == 100
        assert len(set(first.values())) > 90
        for found in continued:
            assert {key: found[key] for key in first} == pytest.approx(first, abs=1e-6)
        rows = session.engine.rows("SELECT id, age, size, city, born::VARCHAR FROM people ORDER BY id")
        prices = dict(session.engine.rows("SELECT id, price FROM found"))
        assert set(results[-1].df()["feature"]) == {"id", "age", "size", "city", "born"}
    records = [dict(zip(("id", "age", "size", "city", "born"), row, strict=True)) for row in rows]
    with elasticdl_nb.serve(trained[-1]) as server:
        answer = ask(server.url, {"instances": [{**record, "more": 1} for record in records]})
        assert answer["predictions"] == pytest.approx([prices[record["id"]] for record in records], rel=1e-5)
        wrong = ask(server.url, {"instances": [{**records[1], "born": 3}]})
        assert wrong.startswith("the input 'born' must have a date")
