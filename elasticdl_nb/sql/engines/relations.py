"""Names of tables, and what a database knows about the tables behind them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table, which may not exist yet, by the parts of its name. The last part is the table's own name.

    `quoted` says for each part whether it stood in quotes. Without it, all parts count as quoted: they are taken as
    they are.
    """

    parts: tuple[str, ...]
    quoted: tuple[bool, ...] = ()

    @property
    def name(self) -> str:
        """The name as users write it."""
        return ".".join(self.parts)

    def is_quoted(self, place: int) -> bool:
        """Whether the part at this place must be taken as it is."""
        return self.quoted[place] if self.quoted else True


@dataclass(frozen=True)
class Column:
    """A column of a table. `type` is its declared type in SQL, empty if it has none.

    `is_generated` means that the database computes it, and `changes_on_update` that it sets the time of each update.
    """

    name: str
    type: str
    is_generated: bool = False
    changes_on_update: bool = False


@dataclass(frozen=True)
class Relation:
    """What the session's connection means by a name.

    `table` is the full name, which means the same wherever it is used. `kind` is "table", "view" or another word for
    something that is not a table. `why_not` says why its columns cannot be changed safely; it is empty if they can.
    """

    table: Table
    kind: str
    columns: tuple[Column, ...] = ()
    is_temporary: bool = False
    why_not: str = ""
    why_no_more: str = ""
    """Why it can have no more columns; empty if it can."""

    def column(self, name: str) -> Column | None:
        """Return the column of that name or, if there is only one, the one that differs in the case of letters."""
        same = [column for column in self.columns if column.name == name]
        alike = [column for column in self.columns if column.name.lower() == name.lower()]
        return same[0] if same else alike[0] if len(alike) == 1 else None


@dataclass(frozen=True)
class RowKey:
    """What identifies a table's rows: expressions of the table's columns, with `{0}` for the table's alias.

    `what` names it in messages. `stays` means that an update does not change it. `is_copied` means that two rows may
    have the same key, if all their columns are equal.
    """

    expressions: tuple[str, ...]
    what: str = ""
    stays: bool = True
    is_copied: bool = False
    columns: tuple[str, ...] = ()
    """The key's columns, if it consists of columns."""


def key_of(
    primary: Sequence[Sequence[str]], unique: Sequence[Sequence[str]], required: Collection[str],
    field: Callable[[str], str],
) -> RowKey | None:  # fmt: skip
    """Return the key that a table's constraints give: the primary key, or else a unique one, without NULLs."""
    for columns, what in [*((key, "primary key") for key in primary), *((key, "unique key") for key in unique)]:
        if columns and set(columns) <= set(required):
            named = f"the {what} ({', '.join(columns)})"
            return RowKey(tuple(map(field, columns)), named, columns=tuple(columns))
    return None
