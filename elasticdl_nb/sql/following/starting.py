"""From a TRAIN statement with `train.follow` to what its job is fed with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from elasticdl_nb.given.fed import Fed
from elasticdl_nb.runtime.storage import usedfiles
from elasticdl_nb.sql.engines import Engine
from elasticdl_nb.sql.features.selection import Selection
from elasticdl_nb.sql.features.statistics import collect
from elasticdl_nb.sql.following.pulled import Pulled, last_of
from elasticdl_nb.sql.following.pulling import Puller
from elasticdl_nb.sql.following.settings import MODULE, Settings
from elasticdl_nb.sql.following.watermark import Watermark, find_watermark
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.lexical import dialect_of
from elasticdl_nb.sql.language.parser import limits_rows
from elasticdl_nb.sql.language.statements import Position
from elasticdl_nb.sql.models.store import StoredModel
from elasticdl_nb.sql.record.modelrecord import Label

_EXACT = 2.0**53
_FLOATS_WITH_NULLS = ("integer", "boolean", "date", "timestamp")


@dataclass(frozen=True)
class Following:
    """What a training follows: the `rows` of its query, with a `watermark`, from `before` on. `delay` is in seconds."""

    rows: Selection
    watermark: Watermark
    delay: float
    before: Pulled
    messages: tuple[str, ...]

    def fed(
        self, columns: Sequence[str], label: Label | None, weights: Sequence[str], there: Selection, *, own_input: bool
    ) -> Fed:
        """Return the job's data: these columns, for a model that reads them itself if `own_input`.

        `there` are the rows that are there now, as they were evaluated for the features.
        """
        named = [name for name in columns if name != (label.column if label else "") and name not in weights]
        floats, required = _columns_with_nulls(there, named, own_input=own_input)
        settings = Settings(
            self.rows.engine.url, self.rows.query, tuple(columns), there.kinds, label.column if label else "",
            label.classes if label else None, tuple(weights), floats, required, self.watermark, self.delay,
        )  # fmt: skip
        engine = self.rows.engine
        return Fed(MODULE, settings.to_json(), lambda folder: Puller(settings, folder).begin(engine, self.before))


def follow(rows: Selection, name: str, delay: float, place: Position | None, former: StoredModel | None) -> Following:
    """Return what a statement follows; raise SqlError, with its place, for a query that cannot be followed.

    `former` is the model that this one continues from.
    """
    if word := limits_rows(rows.query, dialect_of(rows.engine.dialect)):
        raise SqlError(f"train.follow: the query has {word}, after which new rows do not appear", rows.position)
    watermark = find_watermark(rows, name, place)
    before, messages = Pulled(), []
    if former is not None and former.record.watermark:
        if former.record.watermark != watermark.column:
            raise SqlError(
                f"train.follow: {former.name} has followed {former.record.watermark!r}, so nobody knows which rows of "
                f"{watermark.column!r} it has learned from", place,
            )  # fmt: skip
        before = _reached(former) or before
    if before.high:
        messages.append(f"goes on after {watermark.column} = {before.high}, up to which {former.name} has learned")  # type: ignore[union-attr]
    elif former is not None:
        messages.append(f"{former.name} has followed no query, so all rows count as new")
    messages.append(
        f"follows {watermark.column}: new rows are used about {delay:g} seconds after they appear; elasticdl stop ends "
        "the training, and writes the model"
    )
    return Following(rows, watermark, delay, before, tuple(messages))


def apart(engine: Engine, place: Position | None) -> Engine:
    """Return the engine that such a training reads from; raise SqlError if it would not see what the session sees."""
    if engine.main.in_transaction():
        raise SqlError("train.follow reads on a connection of its own, which does not see the open transaction; end it "
                       "first", place)  # fmt: skip
    if made := engine.main.set_up():
        raise SqlError(
            f"train.follow reads on a connection of its own, which lacks what this session has set up: "
            f"{'; '.join(made)}. Use a new session, and full names of tables", place,
        )  # fmt: skip
    try:
        return engine.apart()
    except SqlError as error:
        raise SqlError(f"train.follow: {error.problem}", place) from None


def _columns_with_nulls(
    rows: Selection, columns: Iterable[str], *, own_input: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns that are written as floats, and those in which no NULL may come.

    A column of whole numbers is the one or the other in all of a job's files, whatever comes.
    """
    names = [name for name in columns if rows.kinds[name] in _FLOATS_WITH_NULLS]
    known = collect(rows, names, []) if names else {}
    floats = []
    for name in names:
        about = known[name]
        is_exact = all(abs(value) < _EXACT for value in (about.minimum, about.maximum) if value is not None)
        if about.missing or (is_exact and not own_input):
            floats.append(name)
    return tuple(floats), tuple(name for name in names if name not in floats)


def _reached(model: StoredModel) -> Pulled | None:
    path = Path(model.path) / usedfiles.NAME
    return last_of(json.loads(path.read_text())["files"]) if path.exists() else None
