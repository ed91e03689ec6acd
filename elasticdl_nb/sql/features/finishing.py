"""Finishes drafts of features with facts from the database: scales, vocabularies, ranges and sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from elasticdl_nb.sql.features.statistics import Statistics
from elasticdl_nb.tables.featurerecord import Feature, Number, Source

INDICATOR_SIZE = 32
"""Up to this many categories become a one-hot vector, and more an embedding, if the statement does not say."""
LINEAR_INDICATOR_SIZE = 1000
_MOST_BUCKETS = 10_000
# The mean and deviation of evenly spread values.
_PARTS = {"month": (6.5, 3.45), "day": (15.7, 8.8), "weekday": (3.0, 2.0), "hour": (11.5, 6.92)}


def finish(feature: Feature, statistics: Mapping[str, Statistics]) -> Feature:
    """Return the feature as it is kept with the model; if the statement does not say its form, it is chosen here."""
    if isinstance(feature, Number):
        return _finish_number(feature, statistics)
    source = feature.source.changed(lambda source: _finish_source(source, statistics))
    output = feature.output or ("indicator" if source.size <= INDICATOR_SIZE else "embedding")
    dimension = feature.dimension or embedding_dimension(source.size)
    return replace(feature, source=source, output=output, dimension=dimension)


def _finish_number(feature: Number, statistics: Mapping[str, Statistics]) -> Number:
    """Add the mean and deviation of the number's column; those of a date's parts are known in advance."""
    if feature.part in _PARTS:
        mean, deviation = _PARTS[feature.part]
        return replace(feature, mean=mean, deviation=deviation)
    known = statistics.get(feature.column)
    if known is None or (feature.delimiter and known.minimum is None):
        return feature
    if known.minimum is not None and known.maximum is not None and not known.deviation:
        mean = (known.minimum + known.maximum) / 2
        return replace(feature, mean=mean, deviation=(known.maximum - known.minimum) / math.sqrt(12) or 1.0)
    return replace(feature, mean=known.mean, deviation=known.deviation or 1.0)


def _finish_source(source: Source, statistics: Mapping[str, Statistics]) -> Source:
    """Add the vocabulary or the boundaries, which come from the database, or the number of a cross's buckets."""
    if source.ids == "cross" and not source.buckets:
        return replace(source, buckets=min(math.prod(inner.size for inner in source.sources), _MOST_BUCKETS))
    known = statistics.get(source.column, Statistics())
    if source.ids == "vocabulary" and source.terms is None:
        return replace(source, terms=known.vocabulary())
    if source.ids == "bucket" and not source.boundaries and known.minimum is not None and known.maximum is not None:
        # BUCKET(column, 8): eight ranges of equal width.
        step = (known.maximum - known.minimum) / source.buckets
        return replace(source, boundaries=tuple(known.minimum + step * n for n in range(1, source.buckets)))
    return source


def embedding_dimension(size: int) -> int:
    """Return the embedding dimension for `size` categories: twice the fourth root, from 2 to 32."""
    return max(2, min(32, math.ceil(2 * math.sqrt(math.sqrt(size)))))


def as_linear(feature: Feature) -> Feature:
    """Return the finished feature as a linear model takes it: categories are one-hot, or have a weight each."""
    if isinstance(feature, Number):
        return feature
    if feature.size <= LINEAR_INDICATOR_SIZE and not (feature.options and feature.options.need_table):
        return replace(feature, output="indicator", combiner="sum")
    return replace(feature, output="embedding", dimension=1, combiner="sum")


def as_factors(feature: Feature, dimension: int) -> Feature | None:
    """Return the finished feature as an embedding of the given size; None for a number."""
    return None if isinstance(feature, Number) else replace(feature, output="embedding", dimension=dimension)
