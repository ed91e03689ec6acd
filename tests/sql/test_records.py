"""Records of models: what is written is read, and whatever cannot be read is refused in a sentence."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from elasticdl_nb.sql.record.modelrecord import VERSION, Attributions, Chosen, Label, ModelRecord
from elasticdl_nb.sql.record.recordjson import read_record, record_from_json, record_text, record_to_json
from elasticdl_nb.tables.featurerecord import Category, Number, Source
from elasticdl_nb.tables.jsonfields import RecordError

WORDS = Source("vocabulary", "word", terms=("a", "b"))
RANGES = Source("bucket", "age", buckets=3, boundaries=(1.5, 2.0))
RECORD = ModelRecord(
    "SELECT …", "DNNClassifier", "DNNClassifier", "DNNClassifier", params={"hidden_units": [3]}, job={"num_epochs": 2},
    optimizer=Chosen("Adam", {"learning_rate": 0.1}), loss=Chosen("mae"), metrics=("accuracy",),
    kinds={"word": "text", "age": "integer", "y": "boolean"},
    label=Label("y", "boolean", "classification", (False, True)),
    features={
        "": (
            Number("age", mean=1.0, deviation=2.0), Number("listed", size=3, delimiter=";"),
            Category(WORDS, "embedding", 4, "mean"),
            Category(Source("cross", buckets=9, sources=(WORDS, RANGES)), "indicator"),
            Category(Source("identity", "ids", 7, delimiter=",", pair_delimiter=":"), "embedding", 2, "sqrtn"),
        )
    },
    described=("age: number",), initial="models/former",
)  # fmt: skip
OWN = ModelRecord("SELECT …", "flights", "flights", "custom_model", own_input=True, kinds={"a": "other"})


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        replace(RECORD, label=Label("y", "float", "regression", scale=(1.0, 0.5))),
        replace(RECORD, attributions=Attributions(("age", "word"), 20)),
        OWN,
    ],
)
def test_a_record_comes_back_as_it_was_written(record: ModelRecord) -> None:
    assert read_record(record_text(record)) == record
    # What a saved program holds is the same as a Python literal, lists and all.
    assert record_from_json(json.loads(json.dumps(record_to_json(record)))) == record


def changed(path: str, value: Any) -> str:
    """The record's text with the member at the path changed; left out if the value is an ellipsis."""
    whole: Any = copy.deepcopy(record_to_json(RECORD))
    *parents, last = path.split("/")
    inside = whole
    for name in parents:
        inside = inside[int(name) if isinstance(inside, list) else name]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    return json.dumps(whole)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("version", VERSION + 1, rf"has version {VERSION + 1}, but this elasticdl_nb reads versions 1 to {VERSION};"),
        ("version", 0, "has version 0"),
        ("version", "2", "has version '2'"),
        ("version", ..., "has no 'version'"),
        ("kinds", ..., "has no 'kinds'"),
        ("label", None, "has no 'label'"),
        ("label/task", "guessing", r"label.task: 'guessing' is not one of regression, classification and probability"),
        ("label/scale", [1.0], "expected a mean and a deviation"),
        ("label/classes", "yes", r"label.classes: expected a list, not 'yes'"),
        ("own_input", "no", "expected true or false, not 'no'"),
        ("surprise", 1, "has an unknown member 'surprise'"),
        ("optimizer/name", 3, "optimizer.name: expected a text, not 3"),
        ("features//0/mean", "x", r"features.\[0\].mean: expected a number, not 'x'"),
        ("features//0/size", 1.5, r"features.\[0\].size: expected a whole number, not 1.5"),
        ("features//0/kind", "word", r"features.\[0\].kind: expected number or category, not 'word'"),
        ("features//2/source/ids", "magic", r"features.\[2\].source.ids: 'magic' is not one of vocabulary"),
        ("features//2/source/terms", None, "is incomplete: a vocabulary has no terms"),
        ("features//2/source/terms", [1], r"features.\[2\].source.terms: expected a text, not 1"),
    ],
)
def test_a_record_that_cannot_be_read_is_refused(path: str, value: Any, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        read_record(changed(path, value))


def test_a_file_that_is_no_json_is_refused() -> None:
    with pytest.raises(RecordError, match=r"sql_model.json is damaged"):
        read_record('{"version": 2,')
    with pytest.raises(RecordError, match="expected an object"):
        read_record("[]")


def test_workers_read_records_without_any_database_library() -> None:
    code = (
        "import sys\n"
        "for name in ('duckdb', 'sqlalchemy', 'sqlglot'): sys.modules[name] = None\n"
        "import elasticdl_nb.sql.zoo.sqlmodel, elasticdl_nb.sql.zoo.attributions\n"
        "loaded = {name for name in sys.modules if name.startswith('elasticdl_nb.sql.')}\n"
        "rooms = {name.split('.')[2] for name in loaded}\n"
        "assert rooms == {'record', 'zoo'}, rooms\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
