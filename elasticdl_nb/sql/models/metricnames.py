"""The metrics that a statement names, and what they require."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from elasticdl_nb.runtime.errors import did_you_mean
from elasticdl_nb.runtime.model.reading.keras_names import METRICS, METRICS_OF_ONE_HOT, METRICS_OF_TWO_CLASSES
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Position
from elasticdl_nb.sql.record.modelrecord import ModelRecord

ACCURACY = "accuracy"
"""The share of rows whose class is predicted correctly, whatever the form of the model's outputs."""


def read_metrics(value: Any, place: Position | None) -> list[str]:
    """Return names of Keras metrics, given as a list or separated by commas; raise SqlError for an unknown one."""
    names = [str(name).strip() for name in (value if isinstance(value, list) else str(value).split(","))]
    names = [ACCURACY if name.lower() in (ACCURACY, "acc") else name for name in names]
    for name in names:
        if name != ACCURACY and name not in METRICS:
            raise SqlError(f"Keras has no metric named {name!r}.{did_you_mean(name, [ACCURACY, *METRICS])}", place)
    return list(dict.fromkeys(names))


def check_metrics(names: Sequence[str], place: Position | None, record: ModelRecord) -> None:
    """Raise SqlError for a metric that does not suit the model of this record."""
    if record.own_input:
        if ACCURACY in names:
            raise SqlError(
                f"the meaning of {ACCURACY} depends on how this model reads the label; use binary_accuracy, "
                "categorical_accuracy or sparse_categorical_accuracy instead", place,
            )  # fmt: skip
        return
    label = record.label
    assert label is not None
    classes = record.params.get("n_classes", len(label.classes)) if label.classes else 0
    for name in names:
        is_binary = name in METRICS_OF_TWO_CLASSES
        needs_classes = is_binary or name in METRICS_OF_ONE_HOT or name == ACCURACY or "parse" in name
        if needs_classes and label.task == "regression":
            raise SqlError(f"{name} is for models that predict a class, but this one predicts a number", place)
        if is_binary and classes > 2:
            raise SqlError(f"{name} is for two classes, but the label has {classes}", place)


def metrics_option(names: Sequence[str]) -> dict[str, str]:
    """Return the job's option that names these metrics."""
    return {"eval_metrics_fn": ",".join(names)} if names else {}
