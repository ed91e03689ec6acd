"""Features: what a model gets to see of each column, derived from the columns' types or said by COLUMN.

A feature begins as a draft that names what it needs to know of its column; `statistics` asks the database, and
`finish` puts the answers in. `sql/zoo/features.py` describes the finished form and carries it out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa

from elasticdl_nb.sql.language.statements import Position

MOST_TERMS = 50_000
"""Terms of a vocabulary; the most frequent ones, the others count as unseen."""
INDICATOR_SIZE = 32
"""Categories up to which a one-hot vector is taken rather than an embedding, where the statement leaves it open."""
LINEAR_INDICATOR_SIZE = 1000

NUMBERS = ("integer", "float", "decimal", "boolean")
MOMENTS = ("date", "timestamp")
SPANS = ("time", "duration")


def kind_of(kind: pa.DataType) -> str:
    """Return what features make of an Arrow type: integer, float, decimal, boolean, text, date, timestamp, time,
    duration, empty (nothing but NULL) or other.
    """
    types = pa.types
    if types.is_dictionary(kind):
        return kind_of(kind.value_type)
    for name, test in (
        ("boolean", types.is_boolean), ("integer", types.is_integer), ("float", types.is_floating),
        ("decimal", types.is_decimal), ("text", types.is_string), ("text", types.is_large_string),
        ("text", types.is_string_view), ("date", types.is_date), ("timestamp", types.is_timestamp),
        ("time", types.is_time), ("duration", types.is_duration), ("empty", types.is_null),
    ):  # fmt: skip
        if test(kind):
            return name
    return "other"


@dataclass(frozen=True)
class Statistics:
    """What the database says of a column over the whole query; moments are seconds since 1970."""

    rows: int = 0
    missing: int = 0
    minimum: float | None = None
    maximum: float | None = None
    mean: float = 0.0
    deviation: float = 0.0
    terms: tuple[Any, ...] = ()
    """The most frequent values, in that order, one more than MOST_TERMS at most."""

    @property
    def is_constant(self) -> bool:
        """Whether all values are the same, or missing."""
        if self.terms:
            return len(self.terms) == 1 and not self.missing
        return self.minimum is None or self.minimum == self.maximum


@dataclass(frozen=True)
class Number:
    """A number, or `size` of them."""

    column: str
    size: int = 1
    delimiter: str = ""
    part: str = ""
    mean: float = 0.0
    deviation: float = 1.0
    kind: str = "number"

    def finish(self, statistics: Mapping[str, Statistics]) -> Number:
        """Return the feature with its column's mean and deviation; those of a date's parts are known."""
        if self.part in _PARTS:
            mean, deviation = _PARTS[self.part]
            return replace(self, mean=mean, deviation=deviation)
        known = statistics.get(self.column)
        if known is None or self.delimiter:
            return self
        if known.minimum is not None and known.maximum is not None and not known.deviation:
            mean = (known.minimum + known.maximum) / 2
            return replace(self, mean=mean, deviation=(known.maximum - known.minimum) / math.sqrt(12) or 1.0)
        return replace(self, mean=known.mean, deviation=known.deviation or 1.0)

    def describe(self) -> str:
        """Return the feature in a few words."""
        what = f"its {self.part}" if self.part else "number" if self.size == 1 else f"{self.size} numbers"
        return f"{self.column}: {what}" + (f" between {self.delimiter!r}" if self.delimiter else "")


# The mean and deviation of values that are spread evenly.
_PARTS = {"month": (6.5, 3.45), "day": (15.7, 8.8), "weekday": (3.0, 2.0), "hour": (11.5, 6.92)}


@dataclass(frozen=True)
class Source:
    """Where the ids of a category come from; `buckets` of BUCKET are to be divided evenly if it has no boundaries."""

    ids: str
    column: str = ""
    buckets: int = 0
    terms: tuple[str, ...] = ()
    boundaries: tuple[float, ...] = ()
    sources: tuple[Source, ...] = ()
    delimiter: str = ""
    pair_delimiter: str = ""

    @property
    def size(self) -> int:
        """How many ids there are."""
        sizes: dict[str, int] = {
            "vocabulary": len(self.terms) + 2,
            "bucket": len(self.boundaries) + 2,
            "cross": self.buckets,
        }
        return sizes.get(self.ids, self.buckets + 1)

    def columns(self) -> list[str]:
        """Return the columns that the ids are made of."""
        return [column for source in self.sources for column in source.columns()] if self.sources else [self.column]

    def finish(self, statistics: Mapping[str, Statistics]) -> Source:
        """Return the source with the vocabulary or boundaries that the database knows."""
        if self.ids == "cross":
            return replace(self, sources=tuple(source.finish(statistics) for source in self.sources))
        known = statistics.get(self.column, Statistics())
        if self.ids == "vocabulary" and not self.terms:
            terms = tuple(str(term) for term in known.terms[:MOST_TERMS] if str(term) != "")
            return replace(self, terms=terms)
        if self.ids == "bucket" and not self.boundaries and known.minimum is not None and known.maximum is not None:
            step = (known.maximum - known.minimum) / self.buckets
            return replace(self, boundaries=tuple(known.minimum + step * n for n in range(1, self.buckets)))
        return self

    def describe(self) -> str:
        """Return the source in a few words."""
        if self.ids == "cross":
            return " × ".join(source.describe() for source in self.sources) + f" in {self.buckets} buckets"
        several = "several of " if self.delimiter else ""
        words = {
            "vocabulary": f"{several}{len(self.terms)} values", "identity": f"{several}ids below {self.buckets}",
            "hash": f"{several}{self.buckets} hash buckets", "bucket": f"{len(self.boundaries) + 1} ranges",
        }  # fmt: skip
        return f"{self.column} ({words[self.ids]})"


@dataclass(frozen=True)
class Category:
    """Ids as an embedding or as an indicator (one-hot, or counts where a row has several)."""

    source: Source
    output: str = ""
    dimension: int = 0
    combiner: str = "mean"
    size: int = 0
    kind: str = "category"

    @property
    def column(self) -> str:
        """The columns' names."""
        return " × ".join(self.source.columns())

    def finish(self, statistics: Mapping[str, Statistics]) -> Category:
        """Return the feature with its source finished, and its form chosen where the statement leaves it open."""
        source = self.source.finish(statistics)
        output = self.output or ("indicator" if source.size <= INDICATOR_SIZE else "embedding")
        dimension = self.dimension or embedding_dimension(source.size)
        return replace(self, source=source, size=source.size, output=output, dimension=dimension)

    def describe(self) -> str:
        """Return the feature in a few words."""
        form = f"embedding of {self.dimension}" if self.output == "embedding" else "indicator"
        return f"{self.source.describe()}: {form}"


Feature = Number | Category


def embedding_dimension(size: int) -> int:
    """Return how many numbers stand for one of `size` categories: twice the fourth root, from 2 to 32."""
    return max(2, min(32, math.ceil(2 * math.sqrt(math.sqrt(size)))))


# ------------------------------------------------------------------ derivation


def derive(column: str, kind: str) -> list[Feature]:
    """Return drafts of the features of a column of this kind; none for kinds that have no features."""
    if kind in NUMBERS or kind in SPANS:
        return [Number(column)]
    if kind in MOMENTS:
        parts = ["time", "month", "day", "weekday", *(["hour"] if kind == "timestamp" else [])]
        return [Number(column, part=part) for part in parts]
    if kind == "text":
        return [Category(Source("vocabulary", column), output="embedding")]
    return []


def as_linear(feature: Feature) -> Feature:
    """Return the finished feature as a linear model takes it: categories one-hot, or with a weight each."""
    if isinstance(feature, Number):
        return feature
    if feature.size <= LINEAR_INDICATOR_SIZE:
        return replace(feature, output="indicator", combiner="sum")
    return replace(feature, output="embedding", dimension=1, combiner="sum")


def as_factors(feature: Feature, dimension: int) -> Feature | None:
    """Return the finished feature as an embedding of the given size; None for a number."""
    return None if isinstance(feature, Number) else replace(feature, output="embedding", dimension=dimension)


def to_json(features: Mapping[str, Sequence[Feature]]) -> dict[str, list[dict[str, Any]]]:
    """Return finished features as JSON values."""
    return {target: [asdict(feature) for feature in listed] for target, listed in features.items()}


def columns_of(features: Iterable[Feature]) -> list[str]:
    """Return the columns that these features are made of, each once."""
    found: dict[str, None] = {}
    for feature in features:
        names = [feature.column] if isinstance(feature, Number) else feature.source.columns()
        found.update(dict.fromkeys(names))
    return list(found)


@dataclass(frozen=True)
class Draft:
    """A feature to be finished, the model's input it is for, and where the statement asks for it."""

    target: str
    feature: Feature
    position: Position | None = None
    derived: bool = field(default=False)
