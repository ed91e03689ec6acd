"""The queries that check, after an update and before it is committed, what stands in the table."""

from __future__ import annotations

from dataclasses import dataclass

from elasticdl_nb.sql.writing.keyedquery import KEY, VERSION, same_row
from elasticdl_nb.sql.writing.targets import Place, Target


@dataclass(frozen=True)
class Checks:
    """Queries on the target and on the temporary tables that hold its rows, their predictions, and what was before.

    `names` are the columns of a row's number and of its prediction.
    """

    target: Target
    place: Place
    snapshot: str
    predictions: str
    before: str
    names: tuple[str, str]

    @property
    def same_row(self) -> str:
        """Return the condition that a row `t` of the table is the row `s` of the snapshot, and has not changed."""
        return same_row(self.target.rows, self.place.key.expressions, self.place.version, "t", "s")

    @property
    def _table(self) -> str:
        return self.target.rows.engine.quoted(self.target.table.parts)

    def right(self, column: str) -> str:
        """Return the query that counts the predicted rows that have their prediction, and are as they were read."""
        engine, kind, (row, value) = self.target.rows.engine, self.target.kind, self.names
        joined = f"{self.snapshot} AS s JOIN {self.predictions} AS p ON p.{row} = s.{row}"
        if self.place.key.stays:
            same = engine.same(f"t.{column}", f"p.{value}", kind)
            return f"SELECT COUNT(*) FROM {joined} JOIN {self._table} AS t ON {self.same_row} WHERE {same}"
        wanted = f"SELECT s.{engine.quote(VERSION)}, {engine.exact(f'p.{value}', kind)} FROM {joined}"
        there = f"SELECT {self.place.version.format('t')}, {engine.exact(f't.{column}', kind)} FROM {self._table} AS t"
        return (f"SELECT (SELECT COUNT(*) FROM {self.snapshot}) - (SELECT COUNT(*) FROM ({wanted} EXCEPT ALL {there}) "
                "AS missing)")  # fmt: skip

    def _keys(self, alias: str) -> str:
        texts = enumerate(self.place.key.expressions)
        return ", ".join(f"{text.format(alias)} AS {KEY}{number}" for number, text in texts)

    def note_all_rows(self, column: str) -> str:
        """Return the statement that keeps the state of all rows of the table."""
        kept = f"{self._keys('t')}, {self.place.version.format('t')} AS {VERSION}, t.{column} AS was"
        return f"CREATE TEMPORARY TABLE {self.before} AS SELECT {kept} FROM {self._table} AS t"

    def changed_elsewhere(self, column: str) -> str:
        """Return the query that counts the rows that changed in other columns, or were not predicted but changed."""
        engine, texts = self.target.rows.engine, self.place.key.expressions
        same_key = " AND ".join(f"{text.format('t')} = b.{KEY}{number}" for number, text in enumerate(texts))
        predicted = " AND ".join(
            f"s.{engine.quote(f'{KEY}{number}')} = b.{KEY}{number}" for number in range(len(texts))
        )
        same = engine.same(f"t.{column}", "b.was", self.target.kind)
        return (
            f"SELECT (SELECT COUNT(*) FROM {self.before}) + (SELECT COUNT(*) FROM {self._table}) - 2 * (SELECT "
            f"COUNT(*) FROM {self.before} AS b JOIN {self._table} AS t ON {same_key} AND "
            f"{self.place.version.format('t')} = b.{VERSION} WHERE {same} OR EXISTS (SELECT 1 FROM {self.snapshot} "
            f"AS s WHERE {predicted}))"
        )
