"""Checks what is in columns before a job starts: moments that no calendar has, and texts and lists of numbers and ids.

The database knows ranges and lengths. What is in texts, which items there are and whether they are numbers, is found by
reading them once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from elasticdl_nb.sql.features.columntypes import LIST
from elasticdl_nb.sql.features.drafts import Draft
from elasticdl_nb.sql.features.selection import Selection
from elasticdl_nb.sql.features.statistics import Statistics, check_finite
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Position
from elasticdl_nb.tables.featurerecord import Number, Source
from elasticdl_nb.tables.kinds import MOMENTS

_SHOWN = 60


def check_moments(rows: Selection, known: Mapping[str, Statistics]) -> None:
    """Raise SqlError, with the value, if a date or timestamp is infinite or no day of a calendar."""
    for column, about in known.items():
        if rows.kinds[column] not in MOMENTS or not about.odd:
            continue
        engine, name = rows.engine, rows.engine.quote(column)
        text = engine.exact_text(name)
        value = engine.rows(
            f"SELECT MIN({text}) FROM (\n{rows.query}\n) AS q WHERE {name} IS NOT NULL AND {rows.known(column)} IS NULL"
        )[0][0]
        shown = bytes(value).decode(errors="replace") if isinstance(value, (bytes, bytearray, memoryview)) else value
        raise SqlError(
            f"column {column!r} has values that are no point in time, such as {shown!r}, in {about.odd:,} of "
            f"{about.rows:,} rows; leave them out, or turn them into NULL", rows.position,
        )  # fmt: skip


def check_contents(
    drafts: Sequence[Draft], rows: Selection, known: Mapping[str, Statistics]
) -> tuple[list[Draft], dict[str, Statistics]]:
    """Return the drafts with the sizes of their lists, and the statistics with those of the numbers in the lists.

    Raises SqlError, with the feature's place, for a list of another size, an item that is not a number, or an id that
    is not below the number of ids.
    """
    sized = [_sized(draft, rows, known) for draft in drafts]
    for draft in sized:
        for source in [] if isinstance(draft.feature, Number) else draft.feature.source.all():
            if source.ids == "identity" and rows.kinds[source.column] in ("integer", "boolean"):
                _check_range(source, known[source.column], draft.position or rows.position)
    checks = [check for draft in sized for check in _checks(draft, rows)]
    _read(checks, rows)
    found = dict(known)
    for check in checks:
        if rows.kinds[check.column] == LIST:
            found[check.column] = check.statistics(known[check.column])
        elif check.size:
            found[check.column] = replace(known[check.column], odd=check.odd)
    return sized, found


def _sized(draft: Draft, rows: Selection, known: Mapping[str, Statistics]) -> Draft:
    feature = draft.feature
    if not isinstance(feature, Number) or rows.kinds[feature.column] != LIST:
        return draft
    about, place = known[feature.column], draft.position or rows.position
    shortest, longest = int(about.minimum or 0), int(about.maximum or 0)
    if shortest != longest:
        raise SqlError(
            f"the lists of column {feature.column!r} have {shortest} to {longest} numbers; all need the same length",
            place,
        )
    if feature.size and longest and feature.size != longest:
        raise SqlError(
            f"the lists of column {feature.column!r} have {longest} numbers, not {feature.size} as the statement says",
            place,
        )
    return replace(draft, feature=replace(feature, size=longest or feature.size or 1))


def _check_range(source: Source, about: Statistics, place: Position | None) -> None:
    for value in (about.minimum, about.maximum):
        if value is not None and not 0 <= value < source.buckets:
            raise SqlError(
                f"column {source.column!r} has the id {value:.0f}, but the statement says that ids are from 0 to "
                f"{source.buckets - 1}", place,
            )  # fmt: skip


@dataclass
class _Check:
    """What the items of a column of texts must be: `size` numbers, or ids `below` a number."""

    column: str
    delimiter: str
    place: Position | None
    size: int = 0
    below: int = 0
    pair_delimiter: str = ""
    seen: list[tuple[int, float, float, float, float]] = field(default_factory=list)
    """Of each batch's finite numbers: count, minimum, maximum, mean, and the sum of squared differences from it."""
    odd: int = 0

    def take(self, texts: pa.Array) -> None:
        """Check some of the column's texts."""
        texts = pc.utf8_trim_whitespace(texts.drop_null().cast(pa.string()))
        texts = texts.filter(pc.not_equal(texts, ""))
        if not len(texts):
            return
        lists = pc.split_pattern(texts, self.delimiter) if self.delimiter else None
        if self.size and lists is not None:
            self._check_size(texts, lists)
        items = texts if lists is None else lists.flatten()
        if self.pair_delimiter:
            items = self._without_weights(items)
        self._note(self._numbers(items) if self.size or self.below else np.empty(0))

    def _check_size(self, texts: pa.Array, lists: pa.ListArray) -> None:
        lengths = pc.list_value_length(lists)
        wrong = pc.not_equal(lengths, self.size)
        row = pc.index(wrong, True).as_py()
        if row >= 0:
            self._refuse(f"has {lengths[row]} values in {_shown(texts[row])}, not {self.size} as the statement says")

    def _without_weights(self, items: pa.Array) -> pa.Array:
        pairs = pc.split_pattern(items, self.pair_delimiter, max_splits=1)
        has_weight = pc.equal(pc.list_value_length(pairs), 2)
        self._numbers(pc.list_element(pairs.filter(has_weight), 1))
        return pc.list_element(pairs, 0)

    def _numbers(self, items: pa.Array) -> NDArray[np.float64]:
        items = pc.utf8_trim_whitespace(items)
        items = items.filter(pc.not_equal(items, ""))
        try:
            return np.asarray(items.cast(pa.float64()), np.float64)
        except pa.ArrowInvalid:
            return np.array([self._number(item) for item in items.to_pylist()], np.float64)

    def _number(self, item: str) -> float:
        try:
            return float(item)
        except ValueError:
            self._refuse(f"has {_shown(item)}, which is not a number")
            raise

    def _note(self, numbers: NDArray[np.float64]) -> None:
        if self.below:
            wrong = ~((numbers >= 0) & (numbers < self.below) & (numbers == np.floor(numbers)))
            if wrong.any():
                self._refuse(f"has the id {numbers[wrong][0]:g}, but ids are whole numbers from 0 to {self.below - 1}")
        finite = numbers[np.isfinite(numbers)]
        self.odd += len(numbers) - len(finite)
        if len(finite):
            with np.errstate(over="ignore", invalid="ignore"):
                mean = float(finite.mean())
                squares = float(((finite - mean) ** 2).sum())
            self.seen.append((len(finite), float(finite.min()), float(finite.max()), mean, squares))

    def _refuse(self, problem: str) -> None:
        raise SqlError(f"column {self.column!r} {problem}", self.place)

    def statistics(self, about: Statistics) -> Statistics:
        """Return the statistics of all numbers in the column's lists."""
        if not self.seen:
            return replace(about, minimum=None, maximum=None)
        counts, lowest, highest, means, squares = map(np.array, zip(*self.seen, strict=True))
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float((counts * means).sum() / counts.sum())
            deviation = float(np.sqrt((squares + counts * (means - mean) ** 2).sum() / counts.sum()))
        found = replace(
            about, minimum=lowest.min(), maximum=highest.max(), mean=mean, deviation=deviation, odd=self.odd
        )
        check_finite(self.column, found, self.place)
        return found


def _checks(draft: Draft, rows: Selection) -> list[_Check]:
    feature, place = draft.feature, draft.position or rows.position
    if isinstance(feature, Number):
        if rows.kinds[feature.column] not in ("text", LIST):
            return []
        return [_Check(feature.column, feature.delimiter, place, size=feature.size)]
    checks = []
    for source in feature.source.all():
        below = source.buckets if source.ids == "identity" else 0
        if rows.kinds[source.column] == "text" and (below or source.pair_delimiter):
            checks.append(
                _Check(source.column, source.delimiter, place, below=below, pair_delimiter=source.pair_delimiter)
            )
    return checks


def _read(checks: Sequence[_Check], rows: Selection) -> None:
    columns = list(dict.fromkeys(check.column for check in checks))
    if not columns:
        return
    for batch in rows.engine.stream(rows.pulled(columns)):
        for check in checks:
            check.take(batch.column(columns.index(check.column)))


def _shown(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
