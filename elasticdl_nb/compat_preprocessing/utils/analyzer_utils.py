"""Statistics of columns, from environment variables if they are set, else the default that the caller gives."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from elasticdl_nb.runtime.errors import ModelError

from ..constants import AnalysisEnvTemplate

Value = TypeVar("Value")


def get_min(feature_name: str, default_value: float) -> float:
    """Return the column's least value."""
    return _get(AnalysisEnvTemplate.MIN_ENV, feature_name, default_value, float)


def get_max(feature_name: str, default_value: float) -> float:
    """Return the column's greatest value."""
    return _get(AnalysisEnvTemplate.MAX_ENV, feature_name, default_value, float)


def get_avg(feature_name: str, default_value: float) -> float:
    """Return the mean of the column."""
    return _get(AnalysisEnvTemplate.AVG_ENV, feature_name, default_value, float)


def get_stddev(feature_name: str, default_value: float) -> float:
    """Return the standard deviation of the column."""
    return _get(AnalysisEnvTemplate.STDDEV_ENV, feature_name, default_value, float)


def get_bucket_boundaries(feature_name: str, default_value: list[float]) -> list[float]:
    """Return the boundaries of the column's buckets, in order and each once; the variable has commas between them."""
    return _get(AnalysisEnvTemplate.BUCKET_BOUNDARIES_ENV, feature_name, default_value, _boundaries)


def get_distinct_count(feature_name: str, default_value: int) -> int:
    """Return how many different values the column has."""
    return _get(AnalysisEnvTemplate.DISTINCT_COUNT_ENV, feature_name, default_value, int)


def get_vocabulary(feature_name: str, default_value: list[str] | str) -> list[str] | str:
    """Return the path of a file with the column's values, one a line, or the default, which can also be a list."""
    return _get(AnalysisEnvTemplate.VOCABULARY_ENV, feature_name, default_value, str)


def _get(template: str, feature: str, default: Value, convert: Callable[[str], Value]) -> Value:
    name = template.format(feature)
    text = os.environ.get(name)
    if text is None:
        return default
    try:
        return convert(text)
    except ValueError:
        raise ModelError(f"the environment variable {name} is {text!r}, which is not a number") from None


def _boundaries(text: str) -> list[float]:
    return sorted({float(part) for part in text.split(",")})
