"""`Workplace`: the temporary tables of a PREDICT statement, from which its target is written in one step."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.writing import stepwise
from elasticdl_nb.sql.writing.checking import Checks
from elasticdl_nb.sql.writing.keyedquery import KEY
from elasticdl_nb.sql.writing.targets import Place, Target, is_temporary

ROW = "elasticdl_nb_row"
VALUE = "elasticdl_nb_value"
_ARROW = {"integer": pa.int64(), "float": pa.float64(), "boolean": pa.bool_(), "text": pa.string()}


class Workplace:
    """Temporary tables in the session: the rows to predict, numbered from 1, and their predictions.

    Used as a context, at whose end they are dropped.
    """

    def __init__(self, target: Target) -> None:
        """Take the snapshot of the target's rows; `count` is how many there are.

        Raises SqlError if they are not as many different rows of the table selected from.
        """
        self._target = target
        self._engine = target.rows.engine
        self._connection = self._engine.main
        number = secrets.token_hex(4)
        self._tables = [
            self._engine.temporary(f"elasticdl_nb_{what}_{number}", target.table) for what in ("s", "p", "b")
        ]
        self._snapshot, self._predictions, self._before = self._tables
        self._joined = f"{self._snapshot} AS s JOIN {self._predictions} AS p ON p.{ROW} = s.{ROW}"
        try:
            self._take()
        except BaseException:
            self.close()
            raise

    def _take(self) -> None:
        run, target = self._connection.run, self._target
        run(f"CREATE TEMPORARY TABLE {self._snapshot} AS SELECT row_number() OVER () AS {ROW}, q.* FROM (\n"
            f"{target.query}\n) AS q")  # fmt: skip
        run(f"CREATE TEMPORARY TABLE {self._predictions} ({ROW} BIGINT PRIMARY KEY, {VALUE} {target.type})")
        self.count = self._number(f"SELECT COUNT(*) FROM {self._snapshot}")
        if target.place is not None:
            self._check_rows(target.place)

    def _check_rows(self, place: Place) -> None:
        names = [self._engine.quote(f"{KEY}{number}") for number in range(len(place.key.expressions))]
        names = names or [self._engine.quote("elasticdl_nb_version")]
        known = " AND ".join(f"{name} IS NOT NULL" for name in names)
        different = self._number(
            f"SELECT COUNT(*) FROM (SELECT DISTINCT {', '.join(names)} FROM {self._snapshot} WHERE {known}) AS k"
        )
        if different == self.count:
            return
        name = self._target.table.parts[-1]
        if place.key.is_copied:
            problem = (f"some rows of {name} are equal in all columns, so their predictions cannot be told apart; give "
                       "it a primary key, or predict into another table")  # fmt: skip
        else:
            problem = (f"the query returns {self.count:,} rows, but these are only {different:,} different rows of "
                       f"{name}; predict into another table")  # fmt: skip
        raise SqlError(problem, self._target.rows.position)

    def _number(self, query: str) -> int:
        return int(self._connection.rows(query)[0][0])

    def read(self, columns: Sequence[str]) -> pa.RecordBatchReader:
        """Return these columns of the snapshot, in the snapshot's order."""
        listed = self._target.rows.listed(columns, "s")
        return self._connection.stream(f"SELECT {listed} FROM {self._snapshot} AS s ORDER BY s.{ROW}")

    def keep(self, predictions: Iterable[Sequence[Any]]) -> None:
        """Store predictions, which come some at a time, in the order of the snapshot."""
        kind = _ARROW[self._target.kind]
        schema = pa.schema([(ROW, pa.int64()), (VALUE, kind)])

        def batches() -> Iterator[pa.RecordBatch]:
            first = 1
            for values in predictions:
                numbers = pa.array(range(first, first + len(values)), pa.int64())
                first += len(values)
                yield pa.RecordBatch.from_arrays([numbers, pa.array(values, kind)], schema=schema)

        with self._engine.writing(), self._connection.transaction():
            self._connection.insert(self._predictions, pa.RecordBatchReader.from_batches(schema, batches()))

    # ------------------------------------------------------------ the target

    def write(self) -> None:
        """Write all predictions to the target, or change nothing."""
        target = self._target
        with self._engine.writing():
            if target.place is not None:
                try:
                    self._update(target.place)
                except stepwise.OtherRowsError as error:
                    raise SqlError(
                        f"{target.table.name} changed during the prediction, or changes the predictions that are "
                        f"written to it: {self.count:,} rows were predicted, but {error.args[0]:,} would be as "
                        "predicted. Nothing was changed"
                    ) from None
            elif self._engine.transactional_ddl:
                self._create()
            else:
                stepwise.exchange(self._engine, self._connection, target.table, self._made_by(), self.count,
                                  replaces=target.replaces is not None)  # fmt: skip

    def _create(self) -> None:
        target, engine = self._target, self._engine
        name = engine.quoted(target.table.parts)
        with self._connection.transaction():
            if target.replaces is not None:
                self._connection.run(f"DROP TABLE {name}")
            self._connection.run(engine.create(target.table, self._made_by(), temporary=is_temporary(target)))
            stepwise.check_count(self._connection, name, self.count)

    def _update(self, place: Place) -> None:
        target, engine, connection = self._target, self._engine, self._connection
        column = engine.quote(target.column)
        checks = Checks(target, place, self._snapshot, self._predictions, self._before, (ROW, VALUE))

        def update(name: str) -> str:
            return engine.update_from(target.table, name, f"p.{VALUE}", self._joined, checks.same_row, place.unchanged)

        if target.adds and not engine.transactional_ddl:
            made = (target.column, target.type)
            stepwise.add_column(engine, connection, target.table, made, update, checks.right, self.count)
            return
        with connection.transaction():
            if target.adds:
                connection.run(f"ALTER TABLE {engine.quoted(target.table.parts)} ADD COLUMN {column} {target.type}")
            if place.has_triggers:
                connection.run(checks.note_all_rows(column))
            changed = connection.run(update(column))
            right = self._number(checks.right(column))
            if changed not in (-1, self.count) or right != self.count:
                raise stepwise.OtherRowsError(right if right != self.count else changed)
            if place.has_triggers and self._number(checks.changed_elsewhere(column)):
                raise SqlError(f"the triggers of {target.table.name} change more than the predicted column. Nothing "
                               "was changed; predict into another table")  # fmt: skip

    def _made_by(self) -> str:
        quote = self._engine.quote
        columns = [f"s.{quote(name)}" for name in self._target.selected]
        columns.append(f"p.{VALUE} AS {quote(self._target.column)}")
        return f"AS SELECT {', '.join(columns)} FROM {self._joined} ORDER BY s.{ROW}"

    def close(self) -> None:
        """Drop the temporary tables."""
        for table in self._tables:
            with contextlib.suppress(SqlError):  # a lost connection has dropped them
                self._connection.run(self._engine.dropping(table))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()
