"""Decides what a model sees of a table: which columns, as which features, and what the label is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elasticdl_nb.runtime.errors import OptionError, did_you_mean
from elasticdl_nb.tables.facts import Facts
from elasticdl_nb.tables.featurerecord import Category, Feature, Number, Source
from elasticdl_nb.tables.kinds import MOMENTS, NUMBERS
from elasticdl_nb.tables.tablerecord import NUMBER_KINDS, TableColumn, TableLabel, TableRecord

MOST_CLASSES = 1000
MOST_TERMS = 10_000
"""A column with more different texts is hashed into that many ids."""
MOST_EXACT = 2**53
"""Columns are computed in float64, which has no room for more."""
_FEW = 20
# Mean and deviation of evenly spread values.
PARTS: Mapping[str, tuple[float, float]] = {
    "month": (6.5, 3.45), "day": (15.7, 8.8), "weekday": (3.0, 2.0), "hour": (11.5, 6.92),
}  # fmt: skip


def choose_columns(
    kinds: Mapping[str, str], label: str, features: Sequence[str], weights: Sequence[str] = ()
) -> list[str]:
    """Return the columns to look at, in order: `features`, or all but the label and the records' `weights`.

    `kinds` are those of the table's columns. Raises OptionError for a column that does not exist, and a label that is
    also a feature.
    """
    for option, names in (("label", [label]), ("features", features), ("sample_weight_column", weights)):
        for name in names:
            if name not in kinds:
                near = did_you_mean(name, kinds)
                listed = "" if near else f" The data has {', '.join(map(repr, kinds))}."
                if len(kinds) == 1 and (sign := next((sign for sign in ";\t|" if sign in "".join(kinds)), "")):
                    listed += f' Is the separator {sign!r}? Then give data_reader_params="sep={sign!r}".'
                raise OptionError(option, f"the data has no column {name!r}.{near}{listed}")
    if label in features:
        raise OptionError("features", f"{label!r} is the label; as a feature, it would give the answer away")
    if twice := [name for name in features if list(features).count(name) > 1]:
        raise OptionError("features", f"{twice[0]!r} appears more than once")
    if used := [name for name in weights if name in (label, *features)]:
        raise OptionError("sample_weight_column", f"{used[0]!r} is the label or one of the features")
    return list(features) or [name for name in kinds if name not in (label, *weights)]


def choose(
    kinds: Mapping[str, str], facts: Mapping[str, Facts], label: TableLabel, features: Sequence[str] = ()
) -> TableRecord:
    """Return the record of a table with these kinds and facts of columns, in the order of `kinds`.

    Columns that can teach a model nothing are dropped, with a note. Raises OptionError for one that `features` names,
    and if none is left.
    """
    columns, notes = [], []
    for name, kind in kinds.items():
        if name == label.column:
            continue
        known = facts.get(name, Facts())
        if reason := _useless(kind, known, asked=name in features):
            if name in features:
                raise OptionError("features", f"{name!r} {reason}, so it cannot be used")
            notes.append(f"{name} {reason}: dropped")
            continue
        columns.append(
            TableColumn(name, kind, tuple(_features(name, kind, known)), known.missing > 0, known.low, known.high)
        )
        notes += _remarks(name, kind, known)
    if not columns:
        why = "".join(f" {note}." for note in notes) or " There is no other column."
        raise OptionError("features", f"no column is left to predict {label.column!r} from.{why}")
    return TableRecord(tuple(columns), label, tuple(notes))


def _useless(kind: str, known: Facts, *, asked: bool) -> str:
    """Why a column is no use to a model, in words that follow its name; empty if it is some."""
    if kind == "undecoded":
        return "has texts that are not UTF-8 (name their encoding, as in data_reader_params=\"encoding='latin-1'\")"
    if kind not in (*NUMBER_KINDS, "text", "empty"):
        return "has values of a type that cannot be an input"
    if not known.known:
        return "has no values"
    if known.count == 1 and not (kind == "text" and known.missing):
        return "has the same value in all rows that have one" if known.missing else "has the same value in all rows"
    if kind == "text" and not asked and known.count > _FEW and known.count > known.known / 2:
        count = f"{known.count:,}" if known.values is not None else f"more than {known.count - 1:,}"
        return f"has {count} different texts in {known.known:,} rows, which a model learns nothing from (name it in "\
            "features to keep it)"  # fmt: skip
    return ""


def _features(name: str, kind: str, known: Facts) -> list[Feature]:
    if kind == "text":
        hashed = known.values is None or len(known.values) > MOST_TERMS
        source = Source("hash", name, MOST_TERMS) if hashed else Source("vocabulary", name, terms=known.values)
        return [Category(source, "indicator")]
    whole = Number(name, mean=known.mean, deviation=known.deviation or 1.0, part="time" if kind in MOMENTS else "")
    if kind not in MOMENTS:
        return [whole]
    parts = [part for part in PARTS if part != "hour" or kind == "timestamp"]
    return [whole, *(Number(name, part=part, mean=PARTS[part][0], deviation=PARTS[part][1]) for part in parts)]


def _remarks(name: str, kind: str, known: Facts) -> list[str]:
    remarks = []
    if known.missing:
        how = "a category of their own" if kind == "text" else f"filled with the mean, {known.mean:.6g}"
        remarks.append(f"{name}: {known.missing:,} of {known.rows:,} missing, {how}")
    if kind == "text" and known.count > MOST_TERMS:
        remarks.append(f"{name}: more than {MOST_TERMS:,} different texts, hashed into {MOST_TERMS:,} ids")
    if kind == "integer" and max(-known.low, known.high) > MOST_EXACT:
        remarks.append(f"{name}: whole numbers beyond 2**53 lose their last digits; if they are names, make them texts")
    if kind == "integer" and known.count > _FEW and known.count == known.known:
        remarks.append(f"{name}: a different number in every row; if it is an identifier, leave it out with features")
    return remarks


# ------------------------------------------------------------------ the label


def describe_label(column: str, kind: str, known: Facts) -> TableLabel:
    """Return the label with these facts; raise OptionError if there is nothing to learn or too much."""
    if kind == "empty":
        raise OptionError("label", f"{column!r} has no values")
    if kind not in (*NUMBERS, "text"):
        what = "of no type that a model could predict" if kind in ("other", "undecoded") else f"a {kind}"
        raise OptionError("label", f"{column!r} is {what}; expected numbers, booleans or texts")
    if not known.known:
        raise OptionError("label", f"{column!r} has no values")
    if known.count == 1:
        assert known.values
        raise OptionError("label", f"{column!r} is {known.values[0]!r} in all rows, so there is nothing to learn")
    if kind == "integer" and max(-known.low, known.high) > MOST_EXACT:
        raise OptionError(
            "label",
            f"{column!r} has whole numbers beyond 2**53, which lose their last digits; make them texts if they name "
            f"classes, for example with frame[{column!r}].astype(str), or divide them",
        )
    if kind == "text" and known.count > MOST_CLASSES:
        raise OptionError(
            "label", f"{column!r} has more than {MOST_CLASSES:,} different texts, too many for classes"
        )  # fmt: skip
    return TableLabel(column, kind, _classes(kind, known), known.low, known.high)


def _classes(kind: str, known: Facts) -> tuple[Any, ...]:
    if known.values is None or known.count > MOST_CLASSES or not (kind == "text" or known.is_whole):
        return ()
    convert: Any = {"text": str, "boolean": bool, "integer": int}.get(kind, float)
    return tuple(convert(value) for value in known.values)


def check_classes(label: TableLabel, known: Facts, option: str) -> None:
    """Raise OptionError(option, …) if other data has a label that is not among the classes."""
    for value in known.values or ():
        if label.is_category and value not in label.classes:
            raise OptionError(option, f"has {label.column} = {value!r}, which the training data lacks")


def check_weights(column: str, kind: str, known: Facts) -> None:
    """Raise OptionError if a column with these facts cannot be the weights of records."""
    if kind not in NUMBERS:
        raise OptionError("sample_weight_column", f"{column!r} has no numbers, but {kind} values")
    if known.low < 0:
        raise OptionError("sample_weight_column", f"{column!r} has negative values, such as {known.low:g}")
    if known.missing:
        raise OptionError(
            "sample_weight_column", f"{column!r} is missing or infinite in {known.missing:,} of {known.rows:,} records"
        )


def class_numbers(label: TableLabel, weights: Mapping[str, float]) -> dict[str, float]:
    """Return weights by the numbers of classes, for weights by names or numbers; raise OptionError for other classes.

    The number of a class is its place among all, unless they are whole numbers: these must be 0, 1, 2, … themselves.
    """
    if weights and not label.classes:
        raise OptionError(
            "class_weight", f"the label {label.column!r} is a number with many values, so it has no classes"
        )
    names = [f"{name:g}" if isinstance(name, float) else str(name) for name in label.classes]
    if weights and not label.is_category and [float(name) for name in label.classes] != [*range(len(names))]:
        raise OptionError(
            "class_weight",
            f"the classes of the label {label.column!r} are the numbers {', '.join(names[:5])}, not 0, 1, 2, …; "
            f"make them texts, for example with frame[{label.column!r}].astype(str), and weigh them by name",
        )
    numbers = {name: str(place) for place, name in enumerate(names)}
    by_number = weights and label.is_category and not set(weights) <= set(names) and all(map(str.isdecimal, weights))
    found = {}
    for name, weight in weights.items():
        number = name if by_number else numbers.get(name, "")
        if number not in numbers.values():
            near = did_you_mean(name, names)
            raise OptionError("class_weight", f"the label {label.column!r} has no class {name!r}.{near}")
        found[number] = weight
    return found


def usable(kinds: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Return the kinds of those of these columns whose values can be read."""
    return {name: kinds[name] for name in names if kinds[name] in (*NUMBER_KINDS, "text")}
