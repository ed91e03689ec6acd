"""`Workplace`: the temporary tables of a PREDICT statement, from which its target is written in one step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from elasticdl_nb.sql.engines import Connection, RowKey
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.writing import stepwise
from elasticdl_nb.sql.writing.keyedquery import same_row
from elasticdl_nb.sql.writing.targets import Target

ROW = "elasticdl_nb_row"
VALUE = "elasticdl_nb_value"
SNAPSHOT, PREDICTIONS = "elasticdl_nb_snapshot", "elasticdl_nb_predictions"
_ARROW = {"integer": pa.int64(), "float": pa.float64(), "boolean": pa.bool_(), "text": pa.string()}
_JOINED = f"{SNAPSHOT} AS s JOIN {PREDICTIONS} AS p ON p.{ROW} = s.{ROW}"


class Workplace:
    """Two temporary tables on a connection: the rows to predict, numbered from 1, and their predictions."""

    def __init__(self, connection: Connection, target: Target) -> None:
        """Take the snapshot of the target's rows; `count` is how many there are."""
        self._connection = connection
        self._target = target
        self._engine = target.rows.engine
        connection.run(f"DROP TABLE IF EXISTS {SNAPSHOT}")
        connection.run(
            f"CREATE TEMPORARY TABLE {SNAPSHOT} AS SELECT row_number() OVER () AS {ROW}, q.* FROM (\n{target.query}\n"
            ") AS q"
        )
        connection.run(f"DROP TABLE IF EXISTS {PREDICTIONS}")
        kind = self._engine.types[target.kind]
        connection.run(f"CREATE TEMPORARY TABLE {PREDICTIONS} ({ROW} BIGINT PRIMARY KEY, {VALUE} {kind})")
        self.count = int(connection.rows(f"SELECT COUNT(*) FROM {SNAPSHOT}")[0][0])

    def read(self, columns: Sequence[str]) -> pa.RecordBatchReader:
        """Return these columns of the snapshot, in the snapshot's order."""
        listed = self._target.rows.listed(columns, "s")
        return self._connection.stream(f"SELECT {listed} FROM {SNAPSHOT} AS s ORDER BY s.{ROW}")

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

        with self._connection.transaction():
            self._connection.insert(PREDICTIONS, pa.RecordBatchReader.from_batches(schema, batches()))

    # ------------------------------------------------------------ the target

    def write(self) -> None:
        """Write all predictions to the target, or change nothing."""
        target = self._target
        if target.key is not None:
            try:
                self._update(target.key)
            except stepwise.OtherRowsError as error:
                raise SqlError(
                    f"{target.table.name} changed during the prediction, or the query returns one of its rows several "
                    f"times: {self.count:,} rows were predicted, but {error.args[0]:,} would be written. Nothing was "
                    "changed"
                ) from None
        elif self._engine.transactional_ddl:
            name = self._engine.quoted(target.table.parts)
            with self._connection.transaction():
                if target.replaces:
                    self._connection.run(f"DROP TABLE {name}")
                self._connection.run(f"CREATE TABLE {name} {self._made_by()}")
        else:
            made_by = self._made_by()
            stepwise.exchange(self._engine, self._connection, target.table, made_by, replaces=target.replaces)

    def _update(self, key: RowKey) -> None:
        target, engine, connection = self._target, self._engine, self._connection
        column, kind = engine.quote(target.column), engine.types[target.kind]
        source = (f"p.{VALUE}", _JOINED, same_row(target.rows, key, "t", "s"))
        if target.adds and not engine.transactional_ddl:
            stepwise.add_column(engine, connection, target.table, (target.column, kind), source, self.count)
            return
        with connection.transaction():
            if target.adds:
                connection.run(f"ALTER TABLE {engine.quoted(target.table.parts)} ADD COLUMN {column} {kind}")
            changed = connection.run(engine.update_from(target.table, column, *source))
            if changed != self.count:
                raise stepwise.OtherRowsError(changed)

    def _made_by(self) -> str:
        quote = self._engine.quote
        columns = [f"s.{quote(name)}" for name in self._target.selected]
        columns.append(f"p.{VALUE} AS {quote(self._target.column)}")
        return f"AS SELECT {', '.join(columns)} FROM {_JOINED} ORDER BY s.{ROW}"
