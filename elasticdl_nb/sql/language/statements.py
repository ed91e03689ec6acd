"""The statements of the SQL language as plain values: `parse` makes them, and the session runs them.

A value in WITH or COLUMN is a literal (int, float, str, bool, None, a list of values) or a `Name`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Position:
    """A place in the text that was parsed."""

    offset: int
    """The number of characters before it in the text."""
    line: int
    """From 1."""
    column: int
    """From 1, in characters."""

    @classmethod
    def of(cls, text: str, offset: int) -> Position:
        """Return the place of the character at `offset`."""
        return cls(offset, text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


@dataclass(frozen=True)
class Name:
    """A bare name, dotted or not, that stands for a column, a table, a model or a word such as `relu`.

    `text` has no quotes around quoted parts. In `parts`, a dot inside quotes is distinct from one between parts.
    """

    text: str
    position: Position
    parts: tuple[str, ...] = ()
    quoted: tuple[bool, ...] = field(default=(), compare=False)
    """For each part, whether it stood in quotes; empty if that is not known."""

    def __post_init__(self) -> None:
        if not self.parts:
            object.__setattr__(self, "parts", tuple(self.text.split(".")))

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Attribute:
    """One `key = value` of WITH; the key is as written: `hidden_units`, `model.hidden_units`, `train.batch_size`."""

    key: str
    value: Any
    position: Position
    value_position: Position


@dataclass(frozen=True)
class Function:
    """`DENSE(a, 10)` in COLUMN: the name in upper case, and arguments that are values or nested functions.

    `named` are the arguments of `EMBEDDING(a, 8, min_count=5)` that have names. `*`, all columns but the label, is a
    function of that name without arguments.
    """

    name: str
    arguments: tuple[Any, ...]
    position: Position
    named: tuple[Attribute, ...] = ()


@dataclass(frozen=True)
class Columns:
    """A COLUMN clause, for all of the model's features or for those of the input `target`."""

    items: tuple[Name | Function, ...]
    target: Name | None


@dataclass(frozen=True)
class Statement:
    """A statement as written, from its first word to its last, without the closing semicolon."""

    text: str
    position: Position


@dataclass(frozen=True)
class Query(Statement):
    """SQL that the engine runs unchanged."""


@dataclass(frozen=True)
class Train(Statement):
    """`select TRAIN model … INTO into`; `warm_start` is the trained model to start from (USING)."""

    select: str
    select_position: Position
    model: Name
    attributes: tuple[Attribute, ...]
    columns: tuple[Columns, ...]
    label: Name | None
    warm_start: Name | None
    into: Name


@dataclass(frozen=True)
class Predict(Statement):
    """`select PREDICT [db.]table.column … USING model`."""

    select: str
    select_position: Position
    target: Name
    attributes: tuple[Attribute, ...]
    model: Name


@dataclass(frozen=True)
class Evaluate(Statement):
    """`select EVALUATE model …`; `into` is the table that gets the metrics."""

    select: str
    select_position: Position
    model: Name
    attributes: tuple[Attribute, ...]
    label: Name | None
    into: Name | None


@dataclass(frozen=True)
class Explain(Statement):
    """`select EXPLAIN model …`; `into` is the table that gets the importances."""

    select: str
    select_position: Position
    model: Name
    attributes: tuple[Attribute, ...]
    explainer: Name | None
    into: Name | None


@dataclass(frozen=True)
class ShowTrain(Statement):
    """`SHOW TRAIN model`: what is known about a stored model."""

    model: Name


@dataclass(frozen=True)
class ShowModels(Statement):
    """`SHOW MODELS`: the models in the store."""


@dataclass(frozen=True)
class DropModel(Statement):
    """`DROP MODEL [IF EXISTS] model`."""

    model: Name
    if_exists: bool


def place_of(statement: Train | Predict | Evaluate | Explain, *names: str) -> Position | None:
    """Return where the value of the first attribute stands whose name, after the last dot, is one of these."""
    found = (item for item in statement.attributes if item.key.rpartition(".")[2] in names)
    return next((item.value_position for item in found), None)
