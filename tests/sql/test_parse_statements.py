"""What each statement of the language says."""

from __future__ import annotations

import itertools

import pytest

from elasticdl_nb.sql.language.parser import parse
from elasticdl_nb.sql.language.statements import (
    DropModel,
    Evaluate,
    Explain,
    Function,
    Name,
    Predict,
    Query,
    ShowModels,
    ShowTrain,
    Statement,
    Train,
)

TRAIN = """SELECT name, role, salary FROM employee
TRAIN regressor.DNN
WITH hidden_units=[10, 100, 20, 5], learning_rate=0.01
INTO mymodel;"""
PREDICT = """SELECT name, role FROM testdata
PREDICT testdata.predicted_salary
USING mymodel;"""


def one(text: str, dialect: str = "duckdb", **parameters: object) -> Statement:
    (statement,) = parse(text, dialect, parameters)
    return statement


def train(text: str, dialect: str = "duckdb", **parameters: object) -> Train:
    statement = one(text, dialect, **parameters)
    assert isinstance(statement, Train)
    return statement


def values(statement: Train) -> dict[str, object]:
    return {attribute.key: attribute.value for attribute in statement.attributes}


def plain(value: object) -> object:
    """The value without positions: a name as `<name>`, a function as a tuple."""
    if isinstance(value, Name):
        return f"<{value.text}>"
    if isinstance(value, Function):
        return (value.name, *map(plain, value.arguments))
    return [plain(item) for item in value] if isinstance(value, list) else value


def test_the_two_statements_of_the_first_design() -> None:
    training, predicting = parse(f"{TRAIN}\n\n{PREDICT}")
    assert isinstance(training, Train)
    assert training.select == "SELECT name, role, salary FROM employee"
    assert training.model.text == "regressor.DNN"
    assert values(training) == {"hidden_units": [10, 100, 20, 5], "learning_rate": 0.01}
    assert training.into.text == "mymodel"
    assert (training.label, training.warm_start, training.columns) == (None, None, ())
    assert isinstance(predicting, Predict)
    assert predicting.select == "SELECT name, role FROM testdata"
    assert predicting.target.parts == ("testdata", "predicted_salary")
    assert predicting.model.text == "mymodel"
    assert (predicting.position.line, predicting.position.column) == (6, 1)


@pytest.mark.parametrize("to", ["", "TO ", "to ", "TO\n  ", "TO /* and */ ", "TO -- so\n"])
@pytest.mark.parametrize(
    ("clause", "kind"),
    [
        ("TRAIN DNNClassifier INTO m", Train),
        ("train DNNClassifier into m", Train),
        ("PREDICT t.c USING m", Predict),
        ("EVALUATE m", Evaluate),
        ("EXPLAIN m", Explain),
        ("ANALYZE m USING TreeExplainer", Explain),
    ],
)
def test_both_spellings_say_the_same(to: str, clause: str, kind: type[Statement]) -> None:
    assert isinstance(one(f"SELECT a, b FROM t {to}{clause}"), kind)
    assert isinstance(one(f"SELECT a, b FROM t WHERE a = 'x;y'\n{to}{clause} ; "), kind)


def test_clauses_come_in_any_order() -> None:
    clauses = [
        "WITH model.n_classes=3, train.epoch=2",
        "COLUMN a, DENSE(b) FOR deep",
        "LABEL class",
        "USING before",
        "INTO after",
    ]
    expected = None
    for order in itertools.permutations(clauses):
        statement = train("SELECT * FROM iris TO TRAIN DNNClassifier " + "\n".join(order))
        said = (values(statement), [plain(item) for item in statement.columns[0].items], statement.columns[0].target,
                statement.label, statement.warm_start, statement.into)  # fmt: skip
        told = tuple(item.text if isinstance(item, Name) else item for item in said)
        expected = expected or told
        assert told == expected
    assert expected == (
        {"model.n_classes": 3, "train.epoch": 2}, ["<a>", ("DENSE", "<b>")], "deep", "class", "before", "after",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1", 1),
        ("-1", -1),
        ("+2", 2),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e-3", 0.001),
        ("-2.5E+2", -250.0),
        ("1_000", 1000),
        ("12345678901234567890", 12345678901234567890),
        ("true", True),
        ("False", False),
        ("NULL", None),
        ("None", None),
        ("'text'", "text"),
        ('"text"', "text"),
        ("'it''s'", "it's"),
        (r"'it\'s'", "it's"),
        ('"it\'s"', "it's"),
        ("""'say "so"'""", 'say "so"'),
        ('"say ""so"""', 'say "so"'),
        (r"'a\nb\tc\\d\e'", "a\nb\tc\\d\\e"),
        ("''", ""),
        ("'TO TRAIN x; -- no /* comment'", "TO TRAIN x; -- no /* comment"),
        ("[]", []),
        ("[1, 2.5, 'a', true, null]", [1, 2.5, "a", True, None]),
        ("[[1, 2], [], [[-3]]]", [[1, 2], [], [[-3]]]),
        ("[relu, tf.nn.tanh]", ["<relu>", "<tf.nn.tanh>"]),
        ("relu", "<relu>"),
        ("keras.optimizers.Adam", "<keras.optimizers.Adam>"),
        ("multi:softmax", "<multi:softmax>"),
        ("/* here */ 3 -- there\n", 3),
        ("größe", "<größe>"),
        ("'名前'", "名前"),
    ],
)
def test_values(written: str, value: object) -> None:
    statement = train(f"SELECT 1 TO TRAIN m WITH before=0, x = {written}, after=[1] INTO y")
    assert {key: plain(item) for key, item in values(statement).items()} == {"before": 0, "x": value, "after": [1]}


@pytest.mark.parametrize(
    ("written", "columns"),
    [
        ("a", ["<a>"]),
        ("a, b.c", ["<a>", "<b.c>"]),
        ('`a b`, "c d"', ["<a b>", "<c d>"]),
        ("label, train", ["<label>", "<train>"]),
        ("DENSE(a)", [("DENSE", "<a>")]),
        ("numeric(a, 10)", [("NUMERIC", "<a>", 10)]),
        ('DENSE(a, [10, 2], ",")', [("DENSE", "<a>", [10, 2], ",")]),
        ("SPARSE(a, 1000, comma)", [("SPARSE", "<a>", 1000, "<comma>")]),
        ("BUCKET(DENSE(a, 1), [0, 1.5, -2])", [("BUCKET", ("DENSE", "<a>", 1), [0, 1.5, -2])]),
        ("CROSS([a, BUCKET(b, 10), 'c'], 100)", [("CROSS", ["<a>", ("BUCKET", "<b>", 10), "c"], 100)]),
        ("CATEGORY_ID(a, 10), SEQ_CATEGORY_ID(b, 5)", [("CATEGORY_ID", "<a>", 10), ("SEQ_CATEGORY_ID", "<b>", 5)]),
        ("EMBEDDING(CATEGORY_HASH(a, 10), 8, sum)", [("EMBEDDING", ("CATEGORY_HASH", "<a>", 10), 8, "<sum>")]),
        ("EMBEDDING(a, 8, min_count=5, ttl='7d')", [("EMBEDDING", "<a>", 8)]),
        ("INDICATOR(CATEGORY_ID(a, 3))", [("INDICATOR", ("CATEGORY_ID", "<a>", 3))]),
        ("WEIGHTED_CATEGORY(CATEGORY_ID(a, 3))", [("WEIGHTED_CATEGORY", ("CATEGORY_ID", "<a>", 3))]),
    ],
)
def test_columns(written: str, columns: object) -> None:
    statement = train(f"SELECT * FROM t TO TRAIN m COLUMN {written} LABEL y INTO x")
    assert [plain(item) for item in statement.columns[0].items] == columns
    assert statement.columns[0].target is None
    assert statement.label is not None


def test_columns_of_several_feature_sets() -> None:
    statement = train(
        "SELECT * FROM t TO TRAIN regressor.wide_and_deep.MagicalWAD "
        "COLUMN SPARSE(a, 10), b FOR linear_feature_columns COLUMN DENSE(c) FOR dnn_feature_columns LABEL y INTO m"
    )
    assert [columns.target.text for columns in statement.columns if columns.target] == [
        "linear_feature_columns",
        "dnn_feature_columns",
    ]
    assert [len(columns.items) for columns in statement.columns] == [2, 1]


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("m", ("m",)),
        ("regressor.wide_and_deep.MagicalWAD", ("regressor", "wide_and_deep", "MagicalWAD")),
        ("`my model`", ("my model",)),
        ("my-model", ("my-model",)),
        ("registry.example.com/team/zoo:v1.2/DNN", ("registry.example.com/team/zoo:v1.2/DNN",)),
        ("a--the name\n", ("a",)),
        ("label", ("label",)),
        ("模型", ("模型",)),
    ],
)
def test_names_of_models(written: str, parts: tuple[str, ...]) -> None:
    assert train(f"SELECT 1 TO TRAIN {written} INTO x").model.parts == parts
    assert train(f"SELECT 1 TRAIN x INTO {written}").into.parts == parts


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("t.c", ("t", "c")),
        ("db.t.c", ("db", "t", "c")),
        ('"my db"."t.1"."c ""x"""', ("my db", "t.1", 'c "x"')),
        ("`t`.`c`", ("t", "c")),
        ("t . c", ("t", "c")),
    ],
)
def test_targets_of_predictions(written: str, parts: tuple[str, ...]) -> None:
    statement = one(f"SELECT * FROM t PREDICT {written} WITH replace=true USING m")
    assert isinstance(statement, Predict)
    assert statement.target.parts == parts


def test_evaluate_and_explain_take_what_they_take() -> None:
    evaluating = one("SELECT * FROM t TO EVALUATE m WITH validation.metrics='MAE' LABEL y INTO db.scores")
    assert isinstance(evaluating, Evaluate)
    assert evaluating.label and evaluating.into
    assert (evaluating.model.text, evaluating.label.text, evaluating.into.parts) == ("m", "y", ("db", "scores"))
    explaining = one("SELECT * FROM t EXPLAIN m WITH repeats=3 USING permutation INTO importances")
    assert isinstance(explaining, Explain)
    assert explaining.explainer and explaining.into
    assert (explaining.explainer.text, explaining.into.text) == ("permutation", "importances")


def test_statements_about_models() -> None:
    statements = parse(
        "SHOW TRAIN my-model;show models;\nDROP MODEL a; drop model if exists b -- gone\n; SHOW /* its */ TRAIN `c d`"
    )
    assert [type(statement) for statement in statements] == [ShowTrain, ShowModels, DropModel, DropModel, ShowTrain]
    assert [statement.model.text for statement in statements if not isinstance(statement, ShowModels)] == [  # type: ignore[attr-defined]
        "my-model", "a", "b", "c d",
    ]  # fmt: skip
    assert [statement.if_exists for statement in statements if isinstance(statement, DropModel)] == [False, True]
    assert statements[1].text == "show models"


def test_show_train_without_a_name_is_the_engine_s() -> None:
    assert [type(one) for one in parse("SHOW TRAIN; DESCRIBE train; SHOW TABLES")] == [Query, Query, Query]


def test_statements_are_told_apart_and_placed() -> None:
    text = """-- first of all
    CREATE TABLE a AS SELECT ';' AS x; /* ; */ ;;
    SELECT x FROM a TRAIN m INTO n; -- done
    SELECT 1
    """
    statements = parse(text)
    assert [type(statement) for statement in statements] == [Query, Train, Query]
    assert [(one.position.line, one.position.column) for one in statements] == [(2, 5), (3, 5), (4, 5)]
    for statement in statements:
        assert text[statement.position.offset :].startswith(statement.text)
    assert statements[0].text == "CREATE TABLE a AS SELECT ';' AS x"
    assert statements[2].text == "SELECT 1"


def test_parameters_stand_for_values_of_clauses() -> None:
    statement = train("SELECT * FROM t WHERE a > :low TO TRAIN m WITH epochs = :n, units=[:n, 2] INTO x", n=5, low=1)
    assert values(statement) == {"epochs": 5, "units": [5, 2]}
    assert statement.select == "SELECT * FROM t WHERE a > :low"


def test_nothing_is_no_statement() -> None:
    assert parse("") == parse(" ; ;\n-- x") == parse("/* a /* b */ c */") == []
