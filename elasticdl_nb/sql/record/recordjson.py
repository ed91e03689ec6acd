"""A record as JSON values, and the file that contains it."""

from __future__ import annotations

import json
from typing import Any

from elasticdl_nb.sql.record.modelrecord import VERSION, Attributions, Chosen, Label, ModelRecord, Task
from elasticdl_nb.tables.featurejson import feature_from_json, feature_to_json
from elasticdl_nb.tables.jsonfields import Fields, RecordError, as_list, as_number, as_text

RECORD_FILE = "sql_model.json"


def read_record(text: str | bytes) -> ModelRecord:
    """Return the record in a file's text; raise RecordError if it is damaged or has an unknown version."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise RecordError(f"{RECORD_FILE} is damaged: {error}") from None
    record = record_from_json(value)
    if any(source.terms is None for source in record.sources()):
        raise RecordError(f"{RECORD_FILE} is incomplete: a vocabulary has no terms")
    return record


def record_text(record: ModelRecord) -> str:
    """Return the text of the record's file."""
    return json.dumps(record_to_json(record))


def record_from_json(value: Any) -> ModelRecord:
    """Return the record of these JSON values; raise RecordError for an unknown version or a wrong member."""
    fields = Fields(value, RECORD_FILE)
    version = fields.any("version")
    if not isinstance(version, int) or not 1 <= version <= VERSION:
        raise RecordError(
            f"{RECORD_FILE} has version {version!r}, but this elasticdl_nb reads versions 1 to {VERSION}; "
            "install the elasticdl_nb that the model was trained with, or train the model again"
        )
    record = ModelRecord(
        statement=fields.text("statement"), model=fields.text("model"), module=fields.text("module"),
        class_name=fields.text("class"), own_input=fields.flag("own_input"), params=fields.object("params"),
        job=fields.object("job"), optimizer=_chosen(fields.any("optimizer"), "optimizer"),
        loss=_chosen(fields.any("loss"), "loss"), metrics=fields.list("metrics", as_text),
        kinds={name: as_text(kind, f"kinds.{name}") for name, kind in fields.object("kinds").items()},
        label=fields.optional("label", _label),
        features={
            target: as_list(listed, f"features.{target}", feature_from_json)
            for target, listed in fields.object("features").items()
        },
        described=fields.list("described", as_text), initial=fields.text("initial"),
        attributions=fields.optional("attributions", _attributions), version=version,
        given=fields.optional("given", dict) or {},
        watermark=fields.optional("watermark", str) or "",
    )  # fmt: skip
    fields.end()
    if record.label is None and not record.own_input:
        raise RecordError(f"{RECORD_FILE} has no 'label'")
    return record


def record_to_json(record: ModelRecord) -> dict[str, Any]:
    """Return the record as JSON values, always in the current version."""
    label, asked = record.label, record.attributions
    return {
        "version": VERSION, "statement": record.statement, "model": record.model, "own_input": record.own_input,
        "module": record.module, "class": record.class_name, "params": dict(record.params), "job": dict(record.job),
        "optimizer": {"name": record.optimizer.name, "arguments": dict(record.optimizer.arguments)},
        "loss": {"name": record.loss.name, "arguments": dict(record.loss.arguments)}, "metrics": list(record.metrics),
        "kinds": dict(record.kinds),
        "label": label and {
            "column": label.column, "kind": label.kind, "task": label.task,
            "classes": None if label.classes is None else list(label.classes),
            "scale": None if label.scale is None else list(label.scale),
        },
        "features": {name: [feature_to_json(item) for item in listed] for name, listed in record.features.items()},
        "described": list(record.described), "initial": record.initial,
        **({"given": dict(record.given)} if record.given else {}),
        **({"watermark": record.watermark} if record.watermark else {}),
        **({} if asked is None else {"attributions": {"columns": list(asked.columns), "steps": asked.steps}}),
    }  # fmt: skip


def _chosen(value: Any, where: str) -> Chosen:
    fields = Fields(value, where)
    chosen = Chosen(fields.text("name"), fields.object("arguments"))
    fields.end()
    return chosen


def _label(value: Any) -> Label:
    fields = Fields(value, "label")
    label = Label(
        fields.text("column"), fields.text("kind"), _task(fields.text("task")),
        fields.optional("classes", lambda given: as_list(given, "label.classes", lambda item, where: item)),
        fields.optional("scale", _scale),
    )  # fmt: skip
    fields.end()
    return label


def _scale(value: Any) -> tuple[float, float]:
    numbers = as_list(value, "label.scale", as_number)
    if len(numbers) != 2:
        raise RecordError(f"label.scale: expected a mean and a deviation, not {value!r}")
    return numbers[0], numbers[1]


def _task(name: str) -> Task:
    match name:
        case "regression" | "classification" | "probability" | "":
            return name
    raise RecordError(f"label.task: {name!r} is not one of regression, classification and probability")


def _attributions(value: Any) -> Attributions:
    fields = Fields(value, "attributions")
    asked = Attributions(fields.list("columns", as_text), fields.whole("steps"))
    fields.end()
    return asked
