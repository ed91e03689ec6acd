"""What TRAIN is going to do, and what it refuses, without a job."""

from __future__ import annotations

import ast
import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from engine_tables import fill_people, store_untrained

from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.plan import Plan
from elasticdl_nb.sql.session import Session


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(None, str(tmp_path / "models")) as session:
        fill_people(session.engine)
        yield session


def plan(session: Session, clause: str, select: str = "SELECT age, role, pay FROM people", **params: Any) -> Plan:
    return session.plan(f"{select} TRAIN {clause}", params=params)[0]


def test_features_are_derived_from_types(session: Session) -> None:
    made = plan(session, "DNNRegressor LABEL pay INTO m", "SELECT * FROM people")
    assert made.features == (
        "id: number", "age: number", "height: number", "role (3 values): embedding of 3", "born: its time",
        "born: its month", "born: its day", "born: its weekday", "fee: number", "member: number",
    )  # fmt: skip
    said = "\n".join(made.messages)
    assert "same has the same value in all rows, so it is left out" in said
    assert "age is NULL in 6 of 60 rows; NULL counts as the mean" in said
    assert "fee is NULL in 9 of 60 rows" in said


def test_the_last_column_is_the_label_unless_another_is_named(session: Session) -> None:
    assert "label: pay, the last column" in plan(session, "DNNRegressor INTO m").messages[0]
    named = plan(session, "DNNRegressor LABEL PEOPLE.AGE INTO m")
    assert [line.partition(":")[0] for line in named.features] == ["role (3 values)", "pay"]
    assert "6 rows without a label (age is NULL) are left out" in named.messages


def test_a_column_of_weights_is_no_feature(session: Session) -> None:
    made = plan(session, "DNNRegressor WITH train.sample_weight='AGE' LABEL pay INTO m")
    assert [line.partition(":")[0] for line in made.features] == ["role (3 values)"]
    assert made.job["sample_weight_column"] == "age"
    assert "age" in made.query.partition("FROM")[0]
    with pytest.raises(SqlError, match="nope"):
        plan(session, "DNNRegressor WITH train.sample_weight='nope' LABEL pay INTO m")


def test_attributes_become_options_of_the_job(session: Session) -> None:
    made = plan(
        session, "DNNClassifier WITH model.hidden_units=[3], train.batch_size=5, train.epoch=2, train.num_ps=2, "
        "engine.num_workers=3, train.save_checkpoints_steps=9, model.optimizer=RMSprop LABEL role INTO m",
    )  # fmt: skip
    assert made.job["checkpoint_steps"] == 9
    assert "'RMSprop'" in made.program
    assert made.job["params"] == {"hidden_units": [3], "n_classes": 3}
    assert (made.job["minibatch_size"], made.job["num_epochs"], made.job["num_ps"]) == (5, 2, 2)
    assert JobSpec.create("train", **{"model_def": "m", "data": "d", **made.job}).uses_servers


def test_a_model_that_reads_its_columns_itself_takes_its_own_arguments(session: Session) -> None:
    made = plan(session, "flights.wide_and_deep WITH lr=0.1, hidden_units=[2], train.epoch=3 INTO m")
    assert made.job["params"] == {"lr": 0.1, "hidden_units": [2]}
    assert made.job["num_epochs"] == 3
    with pytest.raises(SqlError, match="Did you mean 'hidden_units'"):
        plan(session, "flights.wide_and_deep WITH hiden_units=[2] INTO m")


def test_parameters_are_bound(session: Session) -> None:
    made = plan(session, "DNNRegressor INTO m", "SELECT age, role, pay FROM people WHERE role <> :role", role="Boss's")
    assert "role <> 'Boss''s'" in made.query
    assert "role (2 values)" in made.features[1]


def test_the_values_of_parameters_are_kept_with_the_model(session: Session) -> None:
    text = (
        "SELECT age, role, pay FROM people WHERE age > :least TRAIN DNNRegressor WITH hidden_units=:units, "
        "validation.select='SELECT * FROM people WHERE born < :day' INTO m"
    )
    store_untrained(session, text, params={"least": np.int64(20), "unused": 1, "units": np.array([4]),
                                           "day": datetime.date(2020, 1, 2)})  # fmt: skip
    shown, facts = session.run("SHOW MODELS; SHOW TRAIN m")
    assert shown.arrow()["parameters"].to_pylist() == [':least = 20, :units = [4], :day = "2020-01-02"']
    known = dict(zip(*facts.arrow().to_pydict().values(), strict=True))
    assert (known["parameter :least"], known["params.hidden_units"]) == ("20", "[4]")


def test_parameters_are_bound_in_the_validation_query(session: Session) -> None:
    clause = "DNNRegressor WITH validation.select='SELECT * FROM people WHERE age > :least' INTO m"
    assert "validation_data" in (made := plan(session, clause, least=30)).program
    assert "WHERE age > 30" in made.program.partition("validation_data")[2]
    with pytest.raises(SqlError, match=r"validation.select: there is no parameter :least"):
        plan(session, clause, other=1)


@pytest.mark.parametrize(
    ("function", "feature"),
    [
        ("NUMERIC(age)", "age: number"),
        ("DENSE(three, 3, SEMICOLON)", "three: 3 numbers between ';'"),
        ("BUCKET(age, [30, 40])", "age (3 ranges): indicator"),
        ("BUCKET(NUMERIC(age, 1), 4)", "age (4 ranges): indicator"),
        ("CATEGORY_ID(age, 100)", "age (ids below 100): embedding of 7"),
        ("CATEGORY_HASH(role, 8)", "role (8 hash buckets): indicator"),
        ("SEQ_CATEGORY_ID(two, 8)", "two (several of ids below 8): indicator"),
        ("SPARSE(two, 8, COMMA)", "two (several of ids below 8): indicator"),
        ("CROSS([role, BUCKET(age, [30])], 50)", "role (3 values) × age (2 ranges) in 50 buckets: embedding of 6"),
        ("CROSS([role, BUCKET(age, [30])])", "role (3 values) × age (2 ranges) in 15 buckets: indicator"),
        ("cross(role, BUCKET(age, [30]), 7)", "role (3 values) × age (2 ranges) in 7 buckets: indicator"),
        ("EMBEDDING(role, 5)", "role (3 values): embedding of 5"),
        ("INDICATOR(CATEGORY_ID(age, 100))", "age (ids below 100): indicator"),
        ("EMBEDDING(WEIGHTED_CATEGORY(CATEGORY_HASH(role, 9)), 2, sum)",
         "role (several of 9 hash buckets): embedding of 2"),
        ("born", "born: its time"),
    ],
)  # fmt: skip
def test_functions_of_columns(session: Session, function: str, feature: str) -> None:
    select = "SELECT age, role, born, '1;2.5;3' AS three, '1,' || id % 7 AS two, pay FROM people"
    assert plan(session, f"DNNRegressor COLUMN {function} INTO m", select).features[0] == feature


def test_a_star_stands_for_all_columns_but_the_label(session: Session) -> None:
    made = plan(session, "DNNRegressor COLUMN *, cross(age, role) LABEL pay INTO m", "SELECT * FROM people")
    assert made.features[:-1] == plan(session, "DNNRegressor LABEL pay INTO m", "SELECT * FROM people").features
    assert made.features[-1] == "age (36 values) × role (3 values) in 190 buckets: embedding of 8"
    assert "same has the same value in all rows, so it is left out" in made.messages
    one = plan(session, "regressor.wide_and_deep.MagicalWAD COLUMN * FOR linear_feature_columns COLUMN age FOR "
               "dnn_feature_columns INTO m")  # fmt: skip
    assert [line for line in one.features if "dnn" in line] == ["age: number (for dnn_feature_columns)"]


@pytest.mark.parametrize(
    ("clause", "at", "message"),
    [
        ("regressor.DNM INTO m", "regressor.DNM", "Did you mean 'regressor.DNN'"),
        ("DNN INTO m", "DNN", "Did you mean 'regressor.DNN'"),
        ("__import__ INTO m", "__import__", "there is no model '__import__'"),
        ("DNNRegressor WITH hiden_units=[1] INTO m", "hiden_units", "Did you mean 'hidden_units'"),
        ("DNNRegressor WITH train.bach_size=1 INTO m", "train.bach_size", "Did you mean 'batch_size'"),
        ("DNNRegressor WITH train.batch_size='x' INTO m", "'x'", "is not valid"),
        ("DNNRegressor WITH train.data='x' INTO m", "train.data", "no such option"),
        ("DNNRegressor WITH features=['a'] INTO m", "features", "is not an attribute of DNNRegressor"),
        ("DNNRegressor WITH optimizer='adm' INTO m", "'adm'", "no optimizer named 'adm'. Did you mean 'adam'"),
        ("DNNRegressor WITH optimizer=null INTO m", "null", "None is not the name of one in Keras"),
        ("DNNRegressor WITH validation.select='' INTO m", "''", "expected a query, and nothing else"),
        ("DNNRegressor WITH validation.select='FROM people; DROP TABLE people' INTO m",
         "'FROM people; DROP", "validation.select: expected a query, and nothing else"),
        ("DNNRegressor WITH optimizer.learning=1 INTO m", "optimizer.learning", "no Keras optimizer takes 'learning'"),
        ("DNNRegressor LABEL pey INTO m", "pey", "the query has no column 'pey'. Did you mean 'pay'"),
        ("DNNRegressor LABEL role INTO m", "role INTO", "is text, but DNNRegressor predicts a number"),
        ("DNNRegressor COLUMN agee INTO m", "agee", "Did you mean 'age'"),
        ("DNNRegressor COLUMN DENS(age) INTO m", "DENS(", "no COLUMN function DENS. Did you mean 'DENSE'"),
        ("DNNRegressor COLUMN NUMERIC(rle) INTO m", "rle", "Did you mean 'role'"),
        ("DNNRegressor COLUMN CROSS([age], 10) INTO m", "CROSS", "takes a list of columns"),
        ("DNNRegressor COLUMN CATEGORY_ID(age) INTO m", "CATEGORY_ID", "needs the number of ids"),
        ("DNNRegressor COLUMN BUCKET(age, [3, 2]) INTO m", "BUCKET", "ascending order"),
        ("DNNRegressor COLUMN EMBEDDING(NUMERIC(age), 2) INTO m", "NUMERIC", "NUMERIC does not make categories"),
        ("DNNRegressor COLUMN age, pay INTO m", "pay INTO", "'pay' is the label"),
        ("DeepFM INTO m", "SELECT", "DeepFM needs exactly 2"),
        ("DNNClassifier WITH validation.select='SELECT age, role, pay AS member FROM people' LABEL role INTO m",
         "'SELECT age, role", "validation.select has no column 'pay'"),
        ("DNNClassifier WITH validation.select='SELECT age, pay AS role, pay FROM people' LABEL role INTO m",
         "'SELECT age, pay", "role is float in validation.select, but the model was trained with text"),
        ("DNNClassifier WITH validation.select='SELECT age, upper(role) AS role, pay FROM people' LABEL role INTO m",
         "'SELECT age, upper", "which is not one of the 3 classes"),
        ("flights.wide_and_deep COLUMN age INTO m", "age INTO", "reads the query's columns itself"),
        ("DNNRegressor INTO \"a/b\"", '"a/b"', "cannot be the name of a stored model"),
    ],
)  # fmt: skip
def test_errors_come_before_work_and_have_a_place(session: Session, clause: str, at: str, message: str) -> None:
    text = f"SELECT age, role, pay FROM people TRAIN {clause}"
    with pytest.raises(SqlError) as caught:
        session.run(text, on_job=lambda job: pytest.fail("a job was started"))
    assert message in caught.value.problem
    assert caught.value.position is not None
    assert caught.value.position.offset == (text.index(clause) + clause.index(at) if at in clause else text.index(at))
    assert session.models() == []


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ("SELECT age, role, pay FROM peple", "peple"),
        ("SELECT age, role, pay FROM people WHERE id < 0", "the query returns no rows"),
        ("SELECT age * 3e306 AS age, pay FROM people", "values of column 'age' are so large"),
        ("SELECT age, pay * 1e200 AS pay FROM people", "values of column 'pay' are so large"),
        ("SELECT pay FROM people", "expected features and a label"),
        ("SELECT same, pay FROM people", "no column can be used as a feature"),
        ("SELECT age, NULL AS pay FROM people", "label 'pay'"),
        ("SELECT CAST(NULL AS VARCHAR) AS word, CAST(NULL AS INTEGER) AS n, pay FROM people", "no column can be used"),
    ],
)
def test_queries_that_cannot_train(session: Session, select: str, message: str) -> None:
    with pytest.raises(SqlError, match=message):
        plan(session, "DNNRegressor INTO m", select)


def test_the_program_is_python_and_holds_no_password(session: Session) -> None:
    made = plan(session, "DNNRegressor WITH hidden_units=[4] INTO m")
    ast.parse(made.program)
    assert "elasticdl_nb.train(" in made.program
    assert "'hidden_units': [4]" in made.program
    session.engine.url = "postgresql://me:secret@host/x"
    hidden = plan(session, "DNNRegressor INTO m").program
    ast.parse(hidden)
    assert "secret" not in hidden
    assert 'os.environ["ELASTICDL_SQL_CONNECT"]' in hidden


def test_going_on_from_a_trained_model_needs_one_of_the_same_kind(session: Session) -> None:
    with pytest.raises(SqlError, match="there is no trained model 'other'"):
        plan(session, "DNNRegressor USING other INTO m")
    store_untrained(session, "SELECT age, role, pay FROM people TRAIN DNNRegressor WITH hidden_units=[7] INTO first")
    made = plan(session, "DNNRegressor USING first INTO m", "SELECT age, role, pay FROM people WHERE id < 5")
    assert made.job["params"] == {"hidden_units": [7]}
    assert "role (3 values): embedding of 3" in made.features
    assert "continues from first, with its features and label" in made.messages
    with pytest.raises(SqlError, match="first is a DNNRegressor, not a DNNClassifier"):
        plan(session, "DNNClassifier USING first INTO m")
    with pytest.raises(SqlError, match="continues from first has its features"):
        plan(session, "DNNRegressor USING first COLUMN age INTO m")
    with pytest.raises(SqlError, match="has no column 'role'"):
        plan(session, "DNNRegressor USING first INTO m", "SELECT age, pay FROM people")


class Itself(keras.Model):
    """A model that reads the query's columns itself."""

    def default_loss(self) -> Any: ...

    def default_input(self, columns: Any, mode: Any) -> Any: ...


def test_a_model_that_reads_its_columns_itself_has_no_features_to_go_on_with(session: Session) -> None:
    session.namespace = {"Itself": Itself}
    store_untrained(session, "SELECT age, pay FROM people TRAIN Itself INTO first", session.namespace)
    features = type("Itself", (keras.Model,), {"default_loss": None, "__module__": "__main__"})
    session.namespace = {"Itself": features}
    with pytest.raises(SqlError, match="first reads its columns itself; USING is for models with features"):
        plan(session, "Itself USING first INTO m")


def test_names_are_never_evaluated(session: Session) -> None:
    session.namespace = {"os": __import__("os"), "number": 3}
    with pytest.raises(SqlError, match=r"number is a int, not a subclass of keras\.Model"):
        plan(session, "number INTO m")
    with pytest.raises(SqlError, match=r"there is no model 'os\.system'"):
        plan(session, "os.system INTO m")
