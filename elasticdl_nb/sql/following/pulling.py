"""Reads new rows from the database, and writes them to files in the order of their watermark."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.data import columntypes
from elasticdl_nb.sql.engines import Engine
from elasticdl_nb.sql.features.selection import Selection
from elasticdl_nb.sql.following.pulled import Pulled, pulled_in
from elasticdl_nb.sql.following.settings import Settings
from elasticdl_nb.sql.language.errors import SqlError

ROWS_PER_FILE = 262_144
"""How many rows a file has, at least, if more are to come."""
_ROWS_PER_GROUP = 65_536
_EXACT = 2.0**53
_MARK = "elasticdl_nb_watermark"
_LABELLED = "elasticdl_nb_labelled"


class Puller:
    """Pulls what the settings say into a directory. `left_out` counts the rows without effect, by reason."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        self._settings, self._directory = settings, directory
        self.left_out: Counter[str] = Counter()
        for left in directory.glob(".*"):  # by a process that was killed
            left.unlink(missing_ok=True)

    def reached(self) -> Pulled:
        """Return the last file, which says how far the database has been read."""
        return pulled_in(self._directory)[-1]

    def begin(self, engine: Engine, before: Pulled) -> None:
        """Write a file without records, which says what the columns are, and where to go on."""
        first = Pulled(before.number + 1, 0, before.read, before.high)
        found = engine.describe(self._query(engine, "", ""))
        kinds = {field.name: pa.float64() if field.name in self._settings.floats else field.type for field in found}
        schema = pa.schema([(name, kind) for name, kind in kinds.items() if name not in (_MARK, _LABELLED)])
        with durable.new_file(self._directory / first.name) as file:
            pq.write_table(schema.empty_table(), file)

    def pull(self, engine: Engine, up_to: str, enough: Callable[[], bool] = lambda: False) -> int:
        """Read the rows up to this watermark that have not been read; return how many there were.

        Each file is complete when it appears, and all rows with one watermark are in the same file. After a file, stops
        if there are `enough`.
        """
        before = reached = self.reached()
        schema = pq.read_schema(self._directory / before.name)
        file: _File | None = None
        try:
            with engine.stream(self._query(engine, reached.high, up_to)) as reader:
                for batch in reader:
                    table, marks, start = pa.Table.from_batches([batch]), batch.column(_MARK).to_pylist(), 0
                    while start < len(marks):
                        file = file or _File(self._directory, schema)
                        end = _end(marks, start, file)
                        if end > start:
                            self._write(table.slice(start, end - start), file)
                        if end < len(marks):
                            reached, file = self._closed(file, reached), None
                            if enough():
                                return reached.read - before.read
                        start = end
            if file is not None:
                reached, file = self._closed(file, reached), None
        finally:
            if file is not None:
                file.discard()
        return reached.read - before.read

    def _closed(self, file: _File, reached: Pulled) -> Pulled:
        self.left_out += file.left_out
        return file.close(reached)

    def _query(self, engine: Engine, after: str, up_to: str) -> str:
        wanted, mark = self._settings, self._settings.watermark
        rows = Selection(engine, wanted.query, wanted.kinds)
        known = f"{rows.known(wanted.label, 'q')} IS NOT NULL" if wanted.label else "1 = 1"
        conditions = [mark.is_known(engine), mark.is_newer(engine, after)]
        conditions += [mark.is_not_newer(engine, up_to)] if up_to else []
        if up_to and mark.is_coarse:  # there may be more of the last day
            conditions.append(f"{mark.name(engine)} < {mark.value(engine, up_to)}")
        return (
            f"SELECT {rows.listed(wanted.columns, 'q')}, {mark.text(engine, mark.name(engine))} AS {_MARK}, "
            f"CASE WHEN {known} THEN 1 ELSE 0 END AS {_LABELLED} FROM (\n{wanted.query}\n) AS q "
            f"WHERE {' AND '.join(conditions)} ORDER BY {mark.name(engine)}"
        )

    def _write(self, part: pa.Table, file: _File) -> None:
        wanted = self._settings
        low, high, rows = part.column(_MARK)[0].as_py(), part.column(_MARK)[-1].as_py(), part.num_rows
        part = file.filtered(part, pc.equal(part.column(_LABELLED), 1), f"without a label ({wanted.label})")
        for name in wanted.required:
            why = f"with a NULL in {name}, where there was none when the job began,"
            part = file.filtered(part, pc.is_valid(part.column(name)), why)
        for name in wanted.floats:
            if pa.types.is_integer(part.schema.field(name).type):
                small = pc.less(pc.abs(part.column(name).cast(pa.float64(), safe=False)), _EXACT)
                why = f"with a number in {name} that is larger than those that the job began with,"
                part = file.filtered(part, pc.fill_null(small, True), why)
        if wanted.classes is not None:
            labels = part.column(wanted.label)
            strange = [value for value in pc.unique(labels).to_pylist() if value not in wanted.classes]
            why = f"with a new class of {wanted.label}, such as {strange[:1]},"
            part = file.filtered(part, pc.invert(pc.is_in(labels, pa.array(strange, labels.type))), why)
        for name in wanted.weights:
            weights = part.column(name).cast(pa.float64(), safe=False)
            is_weight = pc.and_(pc.is_finite(weights), pc.greater_equal(weights, 0.0))
            why = f"whose weight {name} is not a number of at least 0"
            part = file.filtered(part, pc.fill_null(is_weight, False), why)
        file.write(low, high, rows, _fitting(part, file.schema))


def _end(marks: list[str], start: int, file: _File) -> int:
    """Return where a file ends within these rows, which it gets from `start` on: where it is full and the mark changes.

    If it goes on after them, return their number.
    """
    for place in range(start + max(0, ROWS_PER_FILE - file.rows), len(marks)):
        if marks[place] != (marks[place - 1] if place > start else file.high):
            return place
    return len(marks)


def _fitting(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table in the types of the first rows; raise SqlError for a value that does not fit."""
    columns = []
    for field in schema:
        try:
            values = table.column(field.name)
            if pa.types.is_floating(field.type) and not pa.types.is_floating(values.type):
                values = columntypes.normalise(values, columntypes.Column(field.name, "float64"))
            columns.append(values.cast(field.type))
        except pa.ArrowException as error:
            raise SqlError(
                f"column {field.name!r} was {field.type} when the job began, and new rows do not fit: {error}"
            ) from None
    return pa.Table.from_arrays(columns, schema=schema)


class _File:
    """A file that is being written, under a name that hides it."""

    def __init__(self, directory: Path, schema: pa.Schema) -> None:
        self._directory, self.schema = directory, schema
        self._path = Path(durable.aside_name(directory / "rows"))
        self._writer = pq.ParquetWriter(self._path, schema)
        self._records = 0
        self.rows, self.low, self.high = 0, "", ""
        self.left_out: Counter[str] = Counter()

    def write(self, low: str, high: str, rows: int, kept: pa.Table) -> None:
        self._writer.write_table(kept, row_group_size=_ROWS_PER_GROUP)
        self.low = self.low if self.rows else low
        self.rows, self.high, self._records = self.rows + rows, high, self._records + kept.num_rows

    def filtered(self, part: pa.Table, mask: pa.ChunkedArray, why: str) -> pa.Table:
        """Return the rows that the mask keeps, and count the others."""
        kept = part.filter(mask)
        if kept.num_rows < part.num_rows:
            self.left_out[why] += part.num_rows - kept.num_rows
        return kept

    def close(self, before: Pulled) -> Pulled:
        self._writer.close()
        made = Pulled(before.number + 1, self._records, before.read + self.rows, self.high, self.low)
        durable.sync(self._path)
        os.rename(self._path, self._directory / made.name)
        durable.sync(self._directory)
        return made

    def discard(self) -> None:
        self._writer.close()
        self._path.unlink(missing_ok=True)
