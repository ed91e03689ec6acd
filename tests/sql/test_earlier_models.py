"""A model and a program that an earlier elasticdl_nb left: they go on working.

`data/model_of_version_1.tar.gz` is what a TRAIN statement stored when the code that reads a model's record was copied
into its zoo. That code imports modules which are elsewhere today.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import elasticdl_nb
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.model.saving.trained import MESSAGE, ZOO, read_trained_model
from elasticdl_nb.runtime.protocol import trained_model_pb2 as pb
from elasticdl_nb.sql import submitter
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Name, Position
from elasticdl_nb.sql.models.asking import with_record
from elasticdl_nb.sql.models.zoofolder import MODULE
from elasticdl_nb.sql.record.recordjson import RECORD_FILE, read_record
from elasticdl_nb.sql.session import Session

ARCHIVE = Path(__file__).parent / "data" / "model_of_version_1.tar.gz"
# What the earlier version itself predicted for the first rows, and its metrics and importances of all.
PREDICTED = [1005.4732055664062, 1956.51318359375, 3079.4775390625]
METRICS = {"loss": 8552.33203125, "mae": 71.24296569824219, "rmse": 92.47882080078125}
IMPORTANCES = {
    "role": 569.3378295898438, "age": 118.0540771484375, "several": 76.40100860595703, "born": 26.271541595458984,
}  # fmt: skip


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path / "models", filter="data")
    with Session(str(tmp_path / "data.duckdb"), str(tmp_path / "models")) as session:
        session.run(
            "CREATE TABLE people AS SELECT i AS id, 20 + i % 40 AS age, "
            "['clerk', 'chief', 'Boss''s'][1 + i % 3] AS role, "
            "DATE '1990-01-01' + CAST(i * 17 AS INTEGER) AS born, (i % 4) || ',' || (i % 3) AS several, "
            "1000.0 * (1 + i % 3) + i % 5 AS pay FROM range(60) r(i)"
        )
        yield session


@pytest.mark.timeout(600)
def test_a_stored_model_predicts_evaluates_and_explains_as_it_did(session: Session, tmp_path: Path) -> None:
    zoo = tmp_path / "models" / "reg" / ZOO
    before = {path: path.read_bytes() for path in zoo.rglob("*") if path.is_file()}
    _, evaluated, explained = session.run(
        "SELECT * FROM people PREDICT people.guess USING reg;"
        "SELECT * FROM people EVALUATE reg;"
        "SELECT * FROM people EXPLAIN reg USING integrated_gradients"
    )
    found = session.engine.rows("SELECT guess FROM people ORDER BY id LIMIT 3")
    assert [guess for (guess,) in found] == pytest.approx(PREDICTED, rel=1e-5)
    assert {name: value for name, (value,) in evaluated.arrow().to_pydict().items()} == pytest.approx(METRICS, rel=1e-5)
    importances = explained.arrow().to_pydict()
    pairs = zip(importances["feature"], importances["importance"], strict=True)
    assert dict(pairs) == pytest.approx(IMPORTANCES, rel=1e-4)
    assert {path: path.read_bytes() for path in zoo.rglob("*") if path.is_file()} == before


def test_in_python_such_a_model_is_refused_before_any_work(session: Session, tmp_path: Path) -> None:
    rows = session.run("SELECT * FROM people")[0]
    model, output = str(tmp_path / "models" / "reg"), str(tmp_path / "out.parquet")
    with pytest.raises(OptionError, match=r"trained_model: sqltrained.py, line 11, imports .* train the model again"):
        elasticdl_nb.predict(trained_model=model, data=rows, output=output)
    assert not list(elasticdl_nb.jobs())


def test_a_copy_of_a_model_keeps_the_names_of_its_files(session: Session, tmp_path: Path) -> None:
    """In a remote store the zoo and the weights have names of their own, which the message says."""
    folder = tmp_path / "models" / "reg"
    message = pb.TrainedModel.FromString((folder / MESSAGE).read_bytes())
    message.model_zoo = f"{ZOO}-7"
    (folder / ZOO).rename(folder / message.model_zoo)
    (folder / MESSAGE).write_bytes(message.SerializeToString())
    stored = session.store.find(Name("reg", Position(0, 1, 1)))
    _, definition = read_trained_model(with_record(stored, stored.record, str(tmp_path)).path)
    assert read_record((Path(definition.zoo) / RECORD_FILE).read_bytes()) == replace(stored.record, version=2)


def test_a_saved_program_s_record_makes_a_zoo_of_today(session: Session, tmp_path: Path) -> None:
    """The record stands in the program as values, with None for a long vocabulary."""
    saved = json.loads((tmp_path / "models" / "reg" / ZOO / RECORD_FILE).read_text())
    role = next(item for item in saved["features"][""] if item.get("source", {}).get("column") == "role")
    role["source"]["terms"] = None
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    submitter.write_zoo(str(zoo), session.engine, "SELECT * FROM people", saved)
    made = read_record((zoo / RECORD_FILE).read_bytes())
    assert made.version == 2
    vocabularies = {source.terms for source in made.sources() if source.ids == "vocabulary"}
    assert vocabularies == {("Boss's", "chief", "clerk")}
    assert "elasticdl_nb.sql.zoo" in (zoo / f"{MODULE}.py").read_text()
    assert (zoo / "DNNRegressor.py").exists()


def test_a_model_of_a_later_version_is_refused_and_listed(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "models" / "reg" / ZOO / RECORD_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 99}))
    for statement in ("PREDICT people.guess USING reg", "EVALUATE reg", "EXPLAIN reg"):
        text = f"SELECT * FROM people {statement}"
        with pytest.raises(SqlError, match=r"model reg .* version 99, .* reads versions 1 to 2") as caught:
            session.run(text)
        assert caught.value.position is not None and caught.value.position.offset == text.index("reg")
    assert "version 99" in str(session.run("SHOW MODELS")[0])
    session.run("DROP MODEL reg")
    assert session.models() == []
