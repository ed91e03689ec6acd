"""Statements that start jobs, from their text to what stands in the database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pyarrow as pa
import pytest
from engine_tables import fill_people, url_of

import elasticdl_nb
from elasticdl_nb.runtime.errors import JobFailed
from elasticdl_nb.runtime.storage.versions import records_of
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.session import Session

PAY = "SELECT age, role, born, fee, member, same, pay FROM people"


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(str(tmp_path / "data.duckdb"), str(tmp_path / "models")) as session:
        yield session


def rows(session: Session, query: str) -> list[tuple[Any, ...]]:
    return session.engine.rows(query)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("postgresql", marks=pytest.mark.needs("postgresql")),
        pytest.param("mariadb", marks=pytest.mark.needs("mariadb")),
        "sqlite",
    ],
)
def test_train_from_and_predict_into(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with Session(url_of(kind, tmp_path, request), str(tmp_path / "models")) as session:
        fill_people(session.engine)
        session.engine.main.run("DROP TABLE IF EXISTS fresh")
        before = rows(session, "SELECT * FROM people ORDER BY id")
        result = session.run(
            f"{PAY} TO TRAIN DNNRegressor WITH hidden_units=[16], learning_rate=0.05, train.epoch=40, "
            "train.batch_size=16, train.publish_every='600 records', train.keep_published=0 LABEL pay INTO pay_model"
        )[0]
        published = [record for _, _, record in records_of(tmp_path / "models" / "pay_model")]
        assert published[-1].final and published[-1].records == 40 * 60
        assert session.store.names() == ["pay_model"]
        with pytest.raises(SqlError, match=r"leave train\.publish_every out"):
            session.run(f"{PAY} TO TRAIN DNNRegressor WITH train.follow=id, train.publish_every='1m' LABEL pay INTO m")
        said = "\n".join(result.messages)
        assert "same has the same value in all rows, so it is left out" in said
        assert "age is NULL in 6 of 60 rows" in said
        (predicted,) = session.run("SELECT * FROM people WHERE id <= 30 PREDICT people.guess USING pay_model")
        assert predicted.job
        (output,) = predicted.job.status().outputs
        assert Path(output).exists()  # as the job's picture names it
        errors = rows(session, "SELECT ABS(guess - pay) FROM people WHERE id <= 30")
        assert len(errors) == 30
        assert sum(float(error) for (error,) in errors) / 30 < 250  # of 1000 to 3000
        assert rows(session, "SELECT COUNT(*) FROM people WHERE guess IS NOT NULL") == [(30,)]
        columns = list(session.columns("people"))
        assert [row[:-1] for row in rows(session, "SELECT * FROM people ORDER BY id")] == before
        assert columns[-1] == "guess"
        if kind != "postgresql":  # what is written does not depend on the predictions: see test_targets
            return
        session.run("SELECT * FROM people PREDICT fresh.guess USING pay_model")
        # The label is not among the columns of a new table.
        assert list(session.columns("fresh")) == [name for name in columns[:-1] if name != "pay"] + ["guess"]
        assert rows(session, "SELECT COUNT(guess) FROM fresh") == [(60,)]
        # The rows of a table in partitions get the same predictions, each its own.
        session.run(
            "DROP TABLE IF EXISTS parted; CREATE TABLE parted (LIKE people) PARTITION BY RANGE (id);"
            "CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (31);"
            "CREATE TABLE high PARTITION OF parted FOR VALUES FROM (31) TO (99);"
            "INSERT INTO parted SELECT * FROM people; UPDATE parted SET guess = NULL;"
            "SELECT * FROM parted PREDICT parted.guess USING pay_model"
        )
        same = "ABS(parted.guess - fresh.guess) < 0.01"
        assert rows(session, f"SELECT COUNT(*) FROM parted JOIN fresh USING (id) WHERE {same}") == [(60,)]


# ------------------------------------------------------------------ the same as in Python


def iris() -> pa.Table:
    from sklearn.datasets import load_iris

    data = load_iris(as_frame=True)
    frame = data.data.set_axis(["a", "b", "c", "d"], axis=1)
    frame["variety"] = [("setosa", "versicolor", "virginica")[kind] for kind in data.target]
    return pa.Table.from_pandas(frame, preserve_index=False)


def test_iris_as_in_python(session: Session, tmp_path: Path) -> None:
    table = iris()
    session.engine.main._cursor.register("frame", table)  # type: ignore[attr-defined]
    session.run("CREATE TABLE iris AS SELECT * FROM frame")
    events: list[str] = []
    trained, evaluated, _, explained = session.run(
        "SELECT * FROM iris TRAIN DNNClassifier WITH hidden_units=[10], learning_rate=0.05, train.epoch=20, "
        "train.batch_size=16, validation.select='SELECT * FROM iris' INTO iris_model;"
        "SELECT * FROM iris EVALUATE iris_model INTO scores;"
        "SELECT a, b, c, d FROM iris PREDICT iris.guess USING iris_model;"
        "SELECT * FROM iris EXPLAIN iris_model USING integrated_gradients",
        on_message=events.append, on_job=lambda job: events.append(job.status().kind),
    )  # fmt: skip
    assert events[0].startswith("label: variety, the last column of the query") and events[1] == "train"
    assert not any("label" in message for message in trained.messages)
    assert trained.job is not None
    accuracy = trained.job.metrics["accuracy"]
    assert evaluated.arrow()["accuracy"].to_pylist() == [pytest.approx(accuracy)]
    assert rows(session, "SELECT accuracy FROM scores") == [(pytest.approx(accuracy),)]
    right = rows(session, "SELECT AVG(CASE WHEN guess = variety THEN 1.0 ELSE 0.0 END) FROM iris")
    assert float(right[0][0]) == pytest.approx(accuracy)
    assert explained.arrow()["feature"].to_pylist()[0] in ("c", "d")
    assert min(explained.arrow()["importance"].to_pylist()) > 0
    assert explained.plot.startswith("<svg")
    python = elasticdl_nb.train(
        model_def="DNNClassifier", data=table, validation_data=table, output=str(tmp_path / "python"), num_epochs=20,
        minibatch_size=16, wait=True,
        params={"hidden_units": [10], "learning_rate": 0.05, "label": "variety",
                "classes": ["setosa", "versicolor", "virginica"]},
    )  # fmt: skip
    assert accuracy > 0.9
    assert accuracy == pytest.approx(python.metrics["accuracy"], abs=0.04)


def test_metrics_by_name_in_training_and_evaluation(session: Session) -> None:
    fill_people(session.engine)
    session.run("CREATE TABLE t AS SELECT age, role, pay, IF(age > 40, 'old', 'young') AS kind FROM people")
    trained, evaluated, _ = session.run(
        "SELECT * FROM t TRAIN DNNClassifier WITH hidden_units=[8], train.epoch=20, train.batch_size=8, "
        "learning_rate=0.05, validation.select='SELECT * FROM t', validation.metrics='Accuracy,AUC' INTO kinds;"
        "SELECT * FROM t EVALUATE kinds WITH validation.metrics=[AUC, Recall, TruePositives, CategoricalAccuracy, "
        "accuracy] LABEL kind INTO scores;"
        "SELECT * FROM t PREDICT t.guess USING kinds"
    )
    assert trained.job is not None
    assert set(trained.job.metrics) == {"loss", "accuracy", "AUC"}
    scores = {name: values[0] for name, values in evaluated.arrow().to_pydict().items()}
    assert list(scores) == ["loss", "AUC", "CategoricalAccuracy", "Recall", "TruePositives", "accuracy"]
    assert scores["AUC"] == pytest.approx(trained.job.metrics["AUC"], abs=1e-6) and 0.5 < scores["AUC"] <= 1
    pairs = rows(session, "SELECT kind, guess, COUNT(*) FROM t GROUP BY ALL")
    counts = {(kind, guess): count for kind, guess, count in pairs}
    found, young = counts.get(("young", "young"), 0), sum(n for (kind, _), n in counts.items() if kind == "young")
    assert scores["TruePositives"] == found and scores["Recall"] == pytest.approx(found / young)
    right = sum(count for (kind, guess), count in counts.items() if kind == guess) / sum(counts.values())
    assert scores["accuracy"] == pytest.approx(right) and scores["CategoricalAccuracy"] == pytest.approx(right)
    for statement, message in (
        (
            "SELECT age, role, pay, 'aged' AS kind FROM t EVALUATE kinds",
            "kind = 'aged', which is not one of the 2 classes",
        ),
        ("SELECT * FROM t EVALUATE kinds WITH validation.metrics='AUK' LABEL kind", "Keras has no metric named 'AUK'"),
        ("SELECT age, pay FROM t TRAIN DNNRegressor WITH validation.metrics=[mae, AUC] INTO x", "AUC is for models"),
        ("SELECT age, role FROM t TRAIN DNNClassifier WITH validation.metrics=Recall INTO x", "the label has 3"),
    ):
        with pytest.raises(SqlError, match=message):
            session.plan(statement)


def test_lists_and_labels_that_are_no_numbers_and_a_loss_that_is_none(session: Session) -> None:
    session.run(
        "CREATE TABLE t AS SELECT [i, i * 2.0]::DOUBLE[2] AS both, i % 3 AS k, CASE WHEN i = 7 THEN 'nan'::DOUBLE "
        "WHEN i = 8 THEN 'infinity'::DOUBLE ELSE i * 3.0 END AS y FROM range(60) r(i)"
    )
    trained, _, scored = session.run(
        "SELECT * FROM t TRAIN DNNRegressor WITH hidden_units=[8], learning_rate=0.05, train.epoch=30, "
        "train.batch_size=16 INTO m; SELECT * FROM t PREDICT t.p USING m; SELECT * FROM t EVALUATE m"
    )
    assert "2 rows without a label (y is NaN or infinite) are left out" in trained.messages
    assert rows(session, "SELECT count(*) FROM t WHERE isfinite(p)") == [(60,)]
    assert rows(session, "SELECT avg(abs(p - y)) < 30 FROM t WHERE isfinite(y)") == [(True,)]  # of 0 to 177
    assert scored.messages == ("2 rows without a label (y is NaN or infinite) are left out",)
    before = session.run("SHOW TRAIN m")[0].arrow()
    with pytest.raises(JobFailed, match="the loss is"):
        session.run("SELECT * FROM t TRAIN DNNRegressor WITH learning_rate=1e38, train.epoch=8 LABEL y INTO m")
    assert session.run("SHOW TRAIN m")[0].arrow().equals(before)


class Steps(keras.Model):
    """A model as a notebook defines it."""

    def __init__(self, units: int = 8) -> None:
        super().__init__()
        self.hidden = keras.layers.Dense(units, activation="relu")
        self.head = keras.layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        return self.head(self.hidden(inputs))

    def default_loss(self) -> Any:
        return keras.losses.MeanSquaredError()

    def default_optimizer(self) -> Any:
        return keras.optimizers.Adam(0.01)


def test_a_class_of_the_session_with_features_of_every_kind(session: Session) -> None:
    session.namespace = {"Steps": Steps}
    session.run(
        "CREATE TABLE t AS SELECT i % 5 AS n, i % 7 AS k, ['a', 'b', 'c'][1 + i % 3] AS word, "
        "(i % 4) || ',' || (i % 3) AS several, 'x:' || (i % 2) || ',y:2' AS weighted, '1.5;' || i % 3 AS listed, "
        "i % 50 * 1.0 AS y FROM range(100) r(i)"
    )
    result = session.run(
        "SELECT * FROM t TRAIN Steps WITH units=4, optimizer.learning_rate=0.02, loss=huber, loss.delta=2, "
        "validation.metrics='mae', "
        "validation.select='SELECT * FROM t' "
        "COLUMN n, BUCKET(NUMERIC(k, 1), [2, 4]), CROSS([word, n], 20), "
        "EMBEDDING(CATEGORY_ID(k, 7), 3, 'sum', min_count=2), "
        "INDICATOR(CATEGORY_HASH(word, 5)), EMBEDDING(SPARSE(several, 4, COMMA), 2, sqrtn), DENSE(listed, 2, ';'), "
        "INDICATOR(SEQ_CATEGORY_ID(several, 4)), EMBEDDING(WEIGHTED_CATEGORY(CATEGORY_HASH(weighted, 10)), 2), word "
        "LABEL y INTO steps; SELECT * FROM t PREDICT t.guess USING steps"
    )
    assert result[0].job is not None
    assert "mae" in " ".join(result[0].job.metrics).lower()
    assert rows(session, "SELECT COUNT(guess) FROM t") == [(100,)]
    assert result[1].job is not None
    assert json.loads((result[1].job.folder.path / "spec.json").read_text())["minibatch_size"] == 1024


def test_wide_and_deep_with_columns_for_each_part_and_deepfm(session: Session) -> None:
    fill_people(session.engine)
    session.run(
        "SELECT age, role, pay FROM people TRAIN regressor.wide_and_deep.MagicalWAD WITH hidden_units=[8] "
        "COLUMN role FOR linear_feature_columns COLUMN age, role FOR dnn_feature_columns LABEL pay INTO wad;"
        "SELECT age, role, member FROM people TRAIN DeepFM WITH hidden_units=[8] INTO fm;"
        "SELECT * FROM people PREDICT people.chance USING fm"
    )
    assert rows(session, "SELECT COUNT(*) FROM people WHERE chance BETWEEN 0 AND 1") == [(60,)]
    with pytest.raises(SqlError, match="has no input 'deep'"):
        session.plan(
            "SELECT age, role, pay FROM people TRAIN regressor.wide_and_deep.MagicalWAD COLUMN age FOR deep INTO m"
        )
