"""`Selection`: the rows of a query, and the kinds of its columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from elasticdl_nb.runtime.errors import did_you_mean
from elasticdl_nb.sql.engines import Engine
from elasticdl_nb.sql.features.columntypes import LIST, kind_of_column, type_name
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Position


@dataclass(frozen=True)
class Selection:
    """A query on a database, with the kinds of its columns by their names.

    `position` is its place in the statement, and `what` is its name in messages. `types` are the names of the columns'
    types, for messages.
    """

    engine: Engine
    query: str
    kinds: Mapping[str, str]
    position: Position | None = None
    what: str = "the query"
    types: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, engine: Engine, query: str, position: Position | None, what: str = "the query") -> Selection:
        """Return the selection of a query; raise SqlError, with its place, if the query is wrong."""
        try:
            schema = engine.describe(query)
        except SqlError as error:
            raise error.at(position) from None
        if "" in schema.names:
            raise SqlError("a column of the query has no name; give it one with AS", position)
        kinds = {item.name: kind_of_column(item) for item in schema}
        types = {item.name: type_name(item) for item in schema}
        return cls(engine, query, kinds, position, what, types)

    def as_it_is(self) -> Selection:
        """Return the same rows for a model that reads the columns itself: lists stay lists."""
        return replace(self, kinds={name: "other" if kind == LIST else kind for name, kind in self.kinds.items()})

    def column(self, name: str, place: Position | None) -> str:
        """Return the column of that name; see `find_column`."""
        return find_column(name, self.kinds, place)

    def renamed(self, column: str, name: str) -> Selection:
        """Return the same rows with this column renamed. It replaces any column that already has the new name."""
        if column == name:
            return self
        quote = self.engine.quote
        others = [other for other in self.kinds if other not in (column, name)]
        listed = [*map(quote, others), f"{quote(column)} AS {quote(name)}"]
        kinds = {**{other: self.kinds[other] for other in others}, name: self.kinds[column]}
        return replace(self, query=f"SELECT {', '.join(listed)} FROM (\n{self.query}\n) AS q", kinds=kinds)

    def stream(self) -> pa.RecordBatchReader:
        """Return the rows in batches."""
        return self.engine.stream(self.query)

    def pulled(self, columns: Sequence[str], label: str = "") -> str:
        """Return the query for these columns only, in types that Arrow has, and only for rows that have a label.

        A label that is NaN or infinite is none.
        """
        condition = f" WHERE {self.known(label, 'q')} IS NOT NULL" if label else ""
        return f"SELECT {self.listed(columns, 'q')} FROM (\n{self.query}\n) AS q{condition}"

    def part(self, columns: Sequence[str], label: str = "") -> Selection:
        """Return what `pulled` returns, as a selection."""
        return replace(self, query=self.pulled(columns, label))

    def known(self, column: str, alias: str = "") -> str:
        """Return an expression that is NULL where the column has no value that can be used: see `Engine.finite`."""
        name = self.engine.quote(column)
        return self.engine.finite(f"{alias}.{name}" if alias else name, self.kinds[column])

    def listed(self, columns: Iterable[str], alias: str) -> str:
        """Return these columns of the table with that alias as a list for SELECT, in types that Arrow has."""
        expressions = []
        for name in columns:
            column = self.engine.quote(name)
            expressions.append(f"{self.engine.pulled(f'{alias}.{column}', self.kinds[name])} AS {column}")
        return ", ".join(expressions)


def find_column(name: str, kinds: Mapping[str, str], place: Position | None) -> str:
    """Return the query's column of that name, in any case; if there is none, raise SqlError with the nearest name."""
    if name in kinds:
        return name
    found = [column for column in kinds if column.lower() == name.lower()]
    if len(found) == 1:
        return found[0]
    near = did_you_mean(name, kinds)
    listed = "" if near else f" It has {', '.join(kinds)}."
    raise SqlError(f"the query has no column {name!r}.{near}{listed}", place)
