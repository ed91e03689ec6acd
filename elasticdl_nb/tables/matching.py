"""Decides which columns go to which of a model's inputs, and in what form: without Keras, from what is known of both.

| the model has | it gets |
|---|---|
| inputs named as columns | each its column: numbers, ids of categories, or texts, as the input's dtype says |
| one input that is named otherwise | a vector of all (other) columns |

A vector has a number for each number, and one for each category of a text (one-hot); or, if that is the size that the
model takes, one number for each column. An input that the model preprocesses itself (`raw`) gets values as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.tables.featurerecord import Category, Feature, Number, Source
from elasticdl_nb.tables.tablerecord import TableColumn, TableRecord

MOST_ONE_HOT = 1000
"""A text with more categories is hashed into that many before it becomes part of a vector."""

Form = Literal["number", "whole", "text", "ids", "one_hot", "vector"]


@dataclass(frozen=True)
class ModelInput:
    """One of a model's inputs. `width` is the size of its vector, None for any; `most` the ids an Embedding takes."""

    name: str
    dtype: str = "float32"
    width: int | None = 1
    raw: bool = False
    most: int | None = None


@dataclass(frozen=True)
class Slot:
    """A feature's place in a vector. `missing` says whether a category has a place for missing values."""

    feature: Feature
    one_hot: bool = False
    missing: bool = False

    @property
    def size(self) -> int:
        """How many numbers it takes."""
        return categories(self.feature) + self.missing if self.one_hot else 1


@dataclass(frozen=True)
class InputPlan:
    """What one of the model's inputs gets: the values of a column, or a vector of slots."""

    target: ModelInput
    form: Form
    column: TableColumn | None = None
    slots: tuple[Slot, ...] = ()


def categories(feature: Feature) -> int:
    """How many different texts a category tells apart, beside those that are missing or unseen."""
    assert isinstance(feature, Category)
    source = feature.source
    return source.buckets if source.ids == "hash" else len(source.terms or ())


def match(record: TableRecord, inputs: Sequence[ModelInput]) -> tuple[list[InputPlan], list[str]]:
    """Return a plan for each input, and notes; raise ModelError, which says what would do, if they do not fit."""
    columns = {column.name: column for column in record.columns}
    named = [item for item in inputs if item.name in columns and _may_be(item, columns[item.name])]
    others = [item for item in inputs if item not in named]
    if len(others) > 1:
        raise ModelError(
            f"the model's inputs {_listed([item.name for item in others])} are named as no column, and only one such "
            f"input can take all other columns. The columns are {_listed(list(columns))}; name the inputs as columns"
        )
    rest = [column for name, column in columns.items() if name not in {item.name for item in named}]
    plans = {item.name: _of_column(item, columns[item.name]) for item in named}
    notes = [
        f"{item.name}: numbers beyond 2**24 lose digits in the {item.dtype} that the model takes"
        for item in named
        if item.raw and plans[item.name].form == "number" and _greatest(columns[item.name]) > 2**24
    ]
    if others:
        if not rest:
            raise ModelError(
                f"the model's input {others[0].name!r} is named as no column, and no column is left for it"
            )
        plans[others[0].name] = plan = _vector(others[0], rest)
        notes += _notes_on(plan, rest)
    elif rest:
        notes.append(f"the model has no input for {_listed([column.name for column in rest])}, so it does not use them")
    return [plans[item.name] for item in inputs], notes


def _may_be(target: ModelInput, column: TableColumn) -> bool:
    """Whether an input with a column's name can be for that column, rather than for a vector."""
    if target.width in (None, 1):
        return True
    return column.category is not None and target.width in (_one_hot(column).size, categories(column.features[0]))


# ------------------------------------------------------------------ inputs named as columns


def _of_column(target: ModelInput, column: TableColumn) -> InputPlan:
    if target.dtype == "string":
        return InputPlan(target, "text", column)
    whole = target.dtype.startswith(("int", "uint"))
    if column.category is None:
        if whole and column.kind == "float":
            raise ModelError(f"the model's input {target.name!r} takes {target.dtype}, but the column has fractions")
        _check_range(target, column)
        return InputPlan(target, "whole" if whole else "number", column)
    if target.width not in (None, 1):
        slot = _one_hot(column)
        missing = slot.missing and target.width == slot.size
        return InputPlan(target, "one_hot", column, (replace(slot, missing=missing),))
    if not whole and target.most is None:
        size = categories(column.features[0])
        raise ModelError(
            f"the model's input {target.name!r} takes a number, but the column has texts: make it Input((1,), "
            f"dtype='int32') to get ids for an Embedding of {column.category.size}, Input((1,), dtype='string') for "
            f"texts, or Input(({size},)) for one-hot vectors"
        )
    if target.most is not None and target.most < column.category.size:
        raise ModelError(
            f"the Embedding after the input {target.name!r} has {target.most} rows, but the column needs "
            f"{column.category.size}: {categories(column.features[0]):,} different texts, one for missing and one for "
            "unseen ones"
        )
    return InputPlan(target, "ids", column)


def _check_range(target: ModelInput, column: TableColumn) -> None:
    if target.dtype in ("int32", "uint32") and _greatest(column) >= 2**31:
        raise ModelError(
            f"the model's input {target.name!r} takes {target.dtype}, but the column goes from {column.low:.0f} to "
            f"{column.high:.0f}; make it int64"
        )
    if target.most is not None and not 0 <= column.low <= column.high < target.most:
        raise ModelError(
            f"the Embedding after the input {target.name!r} has {target.most} rows, but the column goes from "
            f"{column.low:g} to {column.high:g}; put keras.layers.IntegerLookup before it"
        )


def _greatest(column: TableColumn) -> float:
    return max(-column.low, column.high)


# ------------------------------------------------------------------ vectors


def _vector(target: ModelInput, columns: Sequence[TableColumn]) -> InputPlan:
    if target.dtype == "string" and len(columns) > 1:
        raise ModelError(f"the model's input {target.name!r} takes texts; name it as the column that it is for")
    if target.dtype == "string":
        return InputPlan(target, "text", columns[0])
    wide = [slot for column in columns for slot in _wide(column, raw=target.raw)]
    dummies = [replace(slot, missing=False) for slot in wide]
    narrow = [Slot(column.features[0]) for column in columns]
    for slots in (wide, dummies, narrow):
        if target.width in (None, sum(slot.size for slot in slots)):
            return InputPlan(target, "vector", slots=tuple(slots))
    size = sum(slot.size for slot in wide)
    also = f" (or {len(narrow)}, one for each column)" if len(narrow) != size else ""
    raise ModelError(
        f"the model takes {target.width} numbers, but the columns give {size}{also}: {_sizes(columns, wide)}. Make it "
        f"Input(({size},)), leave out columns with features, or name the model's inputs as columns"
    )


def _wide(column: TableColumn, *, raw: bool) -> list[Slot]:
    if column.category is not None:
        return [_one_hot(column)]
    # A layer that was adapted to a column knows one number of it.
    return [Slot(feature) for feature in (column.features[:1] if raw else column.features)]


def _one_hot(column: TableColumn) -> Slot:
    feature = column.features[0]
    if categories(feature) > MOST_ONE_HOT:
        feature = Category(Source("hash", column.name, MOST_ONE_HOT), "indicator")
    return Slot(feature, one_hot=True, missing=column.missing)


def _notes_on(plan: InputPlan, columns: Sequence[TableColumn]) -> list[str]:
    notes = []
    if plan.form == "vector":
        size = sum(slot.size for slot in plan.slots)
        notes.append(f"the model gets {size} numbers: {_sizes(columns, plan.slots)}")
        for column in columns:
            if column.category and categories(column.features[0]) > MOST_ONE_HOT and any(s.one_hot for s in plan.slots):
                notes.append(f"{column.name}: more than {MOST_ONE_HOT:,} different texts, hashed into {MOST_ONE_HOT:,}")
    return notes


def _sizes(columns: Sequence[TableColumn], slots: Sequence[Slot]) -> str:
    sizes = {
        column.name: sum(slot.size for slot in slots if column.name in slot.feature.columns()) for column in columns
    }
    return ", ".join(f"{name} {size}" for name, size in list(sizes.items())[:12]) + (", …" if len(sizes) > 12 else "")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:12])) + (", …" if len(names) > 12 else "")


def scale_of(slot: Slot) -> Number:
    """Return the scale of ids that stand for themselves in a vector: as if they were evenly spread."""
    assert isinstance(slot.feature, Category)
    size = slot.feature.size
    return Number(slot.feature.source.column, mean=(size - 1) / 2, deviation=max(size / 12**0.5, 1.0))
