"""What TRAIN is going to do, and what it refuses, without a job."""

from __future__ import annotations

import ast
import datetime
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import pytest
from engine_tables import fill_people, store_untrained

from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.models.finding import PREBUILT
from elasticdl_nb.sql.plan import Plan
from elasticdl_nb.sql.record.recordjson import RECORD_FILE, read_record
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
    select = "SELECT COALESCE(age, 1) AS age, role, pay FROM people"
    made = plan(session, "DNNRegressor WITH train.sample_weight='AGE' LABEL pay INTO m", select)
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
    assert "WHERE age > 30" in made.program.partition("VALIDATION =")[2].partition("COLUMNS")[0]
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
        ("EMBEDDING(role, 5, sum, min_count=2, ttl='7d', max_rows=100)",
         "role (3 values): embedding of 5 with min_count=2, ttl=604800s, max_rows=100"),
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
        *[(f"DNNRegressor WITH hidden_units={given} INTO m", given, "expected a list of whole numbers of at least 1")
          for given in ("'abc'", "10", "[8, 0]", "[8, 2.5]", "[true]", "['8']", "null")],
        *[(f"DNNRegressor WITH model.learning_rate={given} INTO m", given,
           f"'model.learning_rate': {given} is not valid: expected a number greater than 0")
          for given in ("'0.1'", "0", "-1", "[0.1]")],
        *[(f"DNNClassifier WITH n_classes={given} LABEL role INTO m", given, "expected a whole number of at least 2")
          for given in ("'3'", "true", "1", "2.5")],
        ("DNNClassifier WITH n_classes=2 LABEL role INTO m", "2 LABEL", "2 is not valid: the label 'role' has 3"),
        ("DeepFM WITH embedding_dim=0 INTO m", "0 INTO", "expected a whole number of at least 1"),
        ("flights.wide_and_deep WITH lr='fast' INTO m", "'fast'", "expected a number greater than 0"),
        ("deepfm.deepfm WITH vocabulary_size=1e3 INTO m", "1e3", "expected a whole number of at least 1"),
        *[(f"DNNRegressor WITH train.batch_size={given} INTO m", given, "expected a whole number of at least 1")
          for given in ("0", "null", "[1]", "1.5", "true", "99999999999999999999")],
        ("DNNRegressor WITH train.shuffle='maybe' INTO m", "'maybe'", "expected true or false"),
        ("DNNRegressor WITH train.sample_weight=3 INTO m", "3 INTO", "the query has no column '3'"),
        ("DNNRegressor WITH train.validation_split=0.2 INTO m", "train.validation_split", "jobs have no such option"),
        ("DNNRegressor WITH train.sample_weight=role INTO m", "role INTO", "weights 'role' is string, not a number"),
        ("DNNRegressor WITH train.sample_weight=age INTO m", "age INTO", "weight 'age' is NULL in 6 of 60 rows"),
        ("DNNRegressor WITH train.class_weight='0=1,1=5' INTO m", "'0=1", "class_weight is for models that"),
        ("DNNClassifier WITH train.class_weight='0=1,3=5' LABEL role INTO m", "'0=1", "there is no class 3; the cla"),
        ("DNNRegressor WITH validation.select=5 INTO m", "5 INTO", "expected a query"),
        ("DNNRegressor WITH validation.metrics=5 INTO m", "5 INTO", "Keras has no metric named '5'"),
        ("DNNRegressor WITH optimizer.learning_rate='x' INTO m", "'x'", "expected a number greater than 0"),
        ("DNNRegressor WITH optimizer.momentum=0.9 INTO m", "optimizer.momentum",
         "the optimizer Adam does not take 'momentum'"),
        ("DNNRegressor WITH optimizer.momentum=2, optimizer=sgd INTO m", "2, ", "expected a number from 0 to 1"),
        ("DNNRegressor WITH optimizer.clipnorm=1, optimizer.clipvalue=1 INTO m", "optimizer.clipvalue",
         "given together with 'clipnorm'"),
        ("DNNRegressor WITH optimizer=sgd, model.optimizer=adam INTO m", "model.optimizer", "is given twice"),
        ("DNNRegressor WITH loss=huber, loss.delt=5 INTO m", "loss.delt",
         "no Keras loss takes 'delt'. Did you mean 'delta'"),
        ("DNNRegressor WITH loss.delta=5 INTO m", "loss.delta", "the loss MeanSquaredError does not take 'delta'"),
        ("DNNRegressor WITH loss=huber, loss.delta='5' INTO m", "'5'", "expected a number"),
        ("DNNRegressor WITH loss=HUBER INTO m", "HUBER", "Keras has no loss named 'HUBER'"),
        ("DNNRegressor LABEL pey INTO m", "pey", "the query has no column 'pey'. Did you mean 'pay'"),
        ("DNNRegressor LABEL role INTO m", "role INTO", "is text, but DNNRegressor predicts a number"),
        ("DNNRegressor COLUMN agee INTO m", "agee", "Did you mean 'age'"),
        ("DNNRegressor COLUMN DENS(age) INTO m", "DENS(", "no COLUMN function DENS. Did you mean 'DENSE'"),
        ("DNNRegressor COLUMN NUMERIC(rle) INTO m", "rle", "Did you mean 'role'"),
        ("DNNRegressor COLUMN CROSS([age], 10) INTO m", "CROSS", "takes a list of columns"),
        ("DNNRegressor COLUMN CATEGORY_ID(age) INTO m", "CATEGORY_ID", "needs the number of ids"),
        ("DNNRegressor COLUMN BUCKET(age, [3, 2]) INTO m", "BUCKET", "ascending order"),
        ("DNNRegressor COLUMN EMBEDDING(NUMERIC(age), 2) INTO m", "NUMERIC", "NUMERIC does not make categories"),
        ("DNNRegressor COLUMN EMBEDDING(role, 5, min_cont=2) INTO m", "min_cont", "Did you mean 'min_count'"),
        ("DNNRegressor COLUMN EMBEDDING(role, 5, ttl=2, ttl=3) INTO m", "ttl=3", "ttl is given twice"),
        ("DNNRegressor COLUMN EMBEDDING(role, 5, ttl='soon') INTO m", "'soon'", "use a number of steps"),
        ("DNNClassifier COLUMN CATEGORY_HASH(pay, 8) LABEL role INTO m", "CATEGORY_HASH",
         "'pay' is float, which has no certain text"),
        ("DNNRegressor COLUMN CATEGORY_HASH(role, ttl=2) INTO m", "=2", "expected ','"),
        ("DNNRegressor WITH train.embedding.ttl=soon INTO m", "soon", "ttl='soon'; use a number of steps"),
        ("DNNRegressor WITH train.embedding.rows=5 INTO m", "train.", "embeddings have no 'rows'. Did you mean"),
        ("DNNRegressor WITH train.embedding.ttl=5 COLUMN age INTO m", "train.", "no column becomes an embedding"),
        ("DNNRegressor WITH train.embedding.min_count=5 COLUMN EMBEDDING(role, 5, min_count=1) INTO m", "min_count=1",
         "does not go together"),
        ("DNNRegressor COLUMN age, pay INTO m", "pay INTO", "'pay' is the label"),
        ("DeepFM INTO m", "SELECT", "DeepFM needs exactly 2"),
        ("DNNClassifier WITH validation.select='SELECT age, role, pay AS member FROM people' LABEL role INTO m",
         "'SELECT age, role", "validation.select has no column 'pay'"),
        ("DNNClassifier WITH validation.select='SELECT age, pay AS role, pay FROM people' LABEL role INTO m",
         "'SELECT age, pay", "'role' is float in validation.select, but text in the training query"),
        ("DNNClassifier WITH validation.select='SELECT age, upper(role) AS role, pay FROM people' LABEL role INTO m",
         "'SELECT age, upper", "which is not one of the 3 classes"),
        ("DNNRegressor WITH validation.select='SELECT ''x'' AS age, role, pay FROM people' INTO m",
         "'SELECT ''x''", "'age' is text in validation.select, but integer in the training query"),
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


def test_weights_are_checked_in_all_rows(session: Session) -> None:
    def given(weight: str, held_back: str = "1.0") -> None:
        select = "SELECT age, {} AS w, pay FROM people"
        validation = f"validation.select='{select.format(held_back)}'"
        plan(session, f"DNNRegressor WITH train.sample_weight=W, {validation} INTO m", select.format(weight))

    given("id * 0.5")
    for weight, message in (
        ("id - 3", "the weight 'w' is -2 in a row; weights are at least 0"),
        ("0", "is 0 in all rows"),
        ("CASE WHEN id = 3 THEN CAST('nan' AS DOUBLE) ELSE 1 END", "NaN or infinite in 1 of 60"),
    ):
        with pytest.raises(SqlError, match=re.escape(message)) as caught:
            given(weight)
        assert caught.value.position is not None
    with pytest.raises(SqlError, match=r"is -2 in a row of validation\.select"):
        given("1.0", "id - 3")


def test_validation_rows_without_a_label_are_said_and_not_all_of_them(session: Session) -> None:
    def messages(select: str) -> tuple[str, ...]:
        return plan(session, f"DNNRegressor WITH validation.select='{select}' LABEL pay INTO m").messages

    pay = "CASE WHEN id > {} THEN pay WHEN id = 3 THEN CAST(''nan'' AS DOUBLE) END AS pay"
    select = f"SELECT age, role, {pay} FROM people"
    assert not [said for said in messages("SELECT age, role, pay FROM people") if "validation" in said]
    said = messages(select.format(5))
    assert "4 rows of validation.select without a label (pay is NULL) are left out" in said
    assert "1 row of validation.select without a label (pay is NaN or infinite) is left out" in said
    for condition, message in (("id > 99", "validation.select has no value of the label 'pay' that is a finite number"),
                               ("id < 0", "validation.select returns no rows")):  # fmt: skip
        with pytest.raises(SqlError, match=re.escape(message)) as caught:
            messages(select.format(99) if condition == "id > 99" else f"{select.format(5)} WHERE {condition}")
        assert caught.value.position is not None


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


def test_a_program_evaluates_its_query_once(session: Session, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    found: dict[str, Any] = {}

    class Ended:
        def wait(self) -> None: ...

        def report(self) -> str:
            return "the report"

    def train(model_zoo: str, data: Any, validation_data: Any, **options: Any) -> Ended:
        record = read_record((Path(model_zoo) / RECORD_FILE).read_bytes())
        found.update(record=record, rows=data.read_all(), held_back=validation_data.read_all(), options=options)
        return Ended()

    words = "SELECT CAST(random() * 1e9 AS INTEGER)::VARCHAR AS word, i AS x, CASE WHEN i > 5 THEN i END AS y"
    held_back = f"validation.select='{words} FROM range(9) r(i)'"
    select = f"{words} FROM range(60) r(i) TRAIN DNNRegressor WITH {held_back} INTO m"
    program = session.plan(select)[0].program
    monkeypatch.setattr("elasticdl_nb.train", train)
    exec(compile(program, "program", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out == "the report\n"
    (source,) = found["record"].sources()
    assert found["rows"].num_rows == 54 and set(found["rows"]["word"].to_pylist()) < set(source.terms)
    assert len(source.terms) == 60 and found["held_back"].num_rows == 3
    assert found["options"]["model_def"] == "sql_model.custom_model"


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


def test_steps_that_would_not_be_called_are_refused_in_the_statement(session: Session) -> None:
    base = type("Base", (keras.Model,), {"train_step": lambda self, data: {}, "default_loss": None})
    session.namespace = {"Own": type("Own", (base,), {})}
    with pytest.raises(SqlError, match=r"^Own\.train_step: a model that is trained in SQL .* are not called"):
        plan(session, "Own INTO m")
    session.namespace = {"Own": type("Own", (Itself,), {"train_step": lambda self, data: {}})}
    plan(session, "Own INTO m")


class Annotated(keras.Model):
    """Says what its arguments are by annotations and defaults."""

    def __init__(
        self, size: int, rate: float = 0.1, units: list[int] | None = None, mode: Literal["a", "b"] = "a",
        pair: tuple[int, str] = (1, "x"), anything: Any = 3, later: Unknown = 1,  # noqa: F821
        plain=0.5, words="relu", sizes=(8, 8), flag=False, nothing=None,
    ) -> None: ...  # fmt: skip

    def default_loss(self) -> Any: ...


def test_arguments_of_the_user_s_classes_are_checked_by_annotation_or_default(session: Session) -> None:
    session.namespace = {"Annotated": Annotated, "Bare": type("Bare", (keras.Model,), {"default_loss": None})}

    def given(attributes: str, name: str = "Annotated") -> None:
        plan(session, f"{name} WITH {attributes} INTO m")

    given("size=1, rate=2, units=null, mode=b, pair=[2, 'y'], anything='x', later='x', plain=[1, 2], words=[x]")
    given("size=1, units=[4], sizes=[8], flag=true, plain=null, nothing='x', rate=1e-3")
    for attributes, expected in (
        ("size=1.5", "a whole number"), ("size='1'", "a whole number"), ("size=1, rate='x'", "a number"),
        ("size=1, units=4", "a list, each item a whole number or null"), ("size=1, units=['a']", "a list"),
        ("size=1, mode=c", "one of a, b"), ("size=1, pair=[1]", "a list of 2"),
        ("size=1, pair=['x', 1]", "a list of 2"),
        ("size=1, plain='x'", "a number, like its default 0.5"), ("size=1, words=5", "a text, like its default 'relu'"),
        ("size=1, sizes=8", "a list, like its default"), ("size=1, sizes=['8']", "a list, like its default"),
        ("size=1, flag='no'", "true or false, like its default False"),
    ):  # fmt: skip
        with pytest.raises(SqlError, match=f"is not valid: expected {re.escape(expected)}"):
            given(attributes)
    with pytest.raises(SqlError, match=r"'units' is not an attribute of Bare\. It takes name, trainable, dtype"):
        given("units=3", "Bare")


def test_the_values_of_every_built_in_argument_are_known() -> None:
    for model in PREBUILT.values():
        assert set(model.arguments().names) <= set(model.forms()), model.name


def test_names_are_never_evaluated(session: Session) -> None:
    session.namespace = {"os": __import__("os"), "number": 3}
    with pytest.raises(SqlError, match=r"number is a int, not a subclass of keras\.Model"):
        plan(session, "number INTO m")
    with pytest.raises(SqlError, match=r"there is no model 'os\.system'"):
        plan(session, "os.system INTO m")


def test_types_of_rows_of_all_embeddings_and_of_one(session: Session) -> None:
    statement = (
        "regressor.wide_and_deep.MagicalWAD WITH train.embedding.row_dtype='bfloat16' "
        "COLUMN EMBEDDING(role, 5, row_dtype='float32', ttl=9), EMBEDDING(CATEGORY_ID(age, 100), 3), age INTO m"
    )
    features = plan(session, statement, "SELECT age, role, pay FROM people").features
    assert [one for one in features if "dnn_feature" in one] == [
        "role (3 values): embedding of 5 with ttl=9 steps, row_dtype=float32 (for dnn_feature_columns)",
        "age (ids below 100): embedding of 3 with row_dtype=bfloat16 (for dnn_feature_columns)",
        "age: number (for dnn_feature_columns)",
    ]
    for wrong, says in (
        ("DNNRegressor COLUMN EMBEDDING(role, 5, row_dtype='half') INTO m", "row_dtype='half'; use one of float32"),
        ("DNNRegressor COLUMN EMBEDDING(role, 5, row_type='bfloat16') INTO m", "Did you mean 'row_dtype'"),
        ("DNNRegressor WITH train.embedding.row_dtype='x' COLUMN EMBEDDING(role, 5) INTO m", "row_dtype='x'"),
        ("DNNRegressor WITH train.embedding.row_dtype='bfloat16' COLUMN age INTO m", "no column becomes an embedding"),
    ):
        with pytest.raises(SqlError, match=says):
            plan(session, wrong, "SELECT age, role, pay FROM people")


def test_half_lives_of_all_embeddings_and_of_one(session: Session) -> None:
    statement = (
        "DNNRegressor WITH train.embedding.slot_half_life=500 "
        "COLUMN EMBEDDING(role, 5, slot_half_life=9), EMBEDDING(CATEGORY_ID(age, 100), 3, max_rows=50) INTO m"
    )
    assert plan(session, statement, "SELECT age, role, pay FROM people").features == (
        "role (3 values): embedding of 5 with slot_half_life=9 steps",
        "age (ids below 100): embedding of 3 with max_rows=50, slot_half_life=500 steps",
    )
    for wrong, says in (
        ("DNNRegressor COLUMN EMBEDDING(role, 5, slot_half_life='7d') INTO m", "use a whole number of steps"),
        ("DNNRegressor WITH train.embedding.slot_half_live=5 COLUMN age INTO m", "Did you mean 'slot_half_life'"),
        ("DNNRegressor WITH train.embedding.slot_half_life=5 COLUMN age INTO m", "no column becomes an embedding"),
    ):
        with pytest.raises(SqlError, match=says):
            plan(session, wrong, "SELECT age, role, pay FROM people")


def test_bounds_of_all_embeddings_and_of_one(session: Session) -> None:
    statement = (
        "regressor.wide_and_deep.MagicalWAD WITH train.embedding.min_count=3, train.embedding.ttl='1h' "
        "COLUMN EMBEDDING(role, 5, ttl=9), INDICATOR(CATEGORY_ID(age, 100)), age INTO m"
    )
    found = plan(session, statement, "SELECT age, role, pay FROM people").features
    assert found == (
        "role (3 values): embedding of 1 with min_count=3, ttl=9 steps (for linear_feature_columns)",
        "age (ids below 100): indicator (for linear_feature_columns)",
        "age: number (for linear_feature_columns)",
        "role (3 values): embedding of 5 with min_count=3, ttl=9 steps (for dnn_feature_columns)",
        "age (ids below 100): indicator (for dnn_feature_columns)",
        "age: number (for dnn_feature_columns)",
    )
    twice = 'DNNRegressor WITH train.embedding.min_count=5 COLUMN EMBEDDING(role, 5, "sum", min_count=5) INTO m'
    found = plan(session, twice, "SELECT age, role, pay FROM people").features
    assert found == ("role (3 values): embedding of 5 with min_count=5",)
