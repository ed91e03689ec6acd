"""Predictions of a pandas frame have its index, so that they can be put beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from elasticdl_nb.job.predictions import keep_index, with_index

FRAME = pd.DataFrame({"a": [1, 2, 3]})


@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(3), [5, 3, 1], [1, 2, 3], list("xyz"), pd.RangeIndex(0, 6, 2), pd.Index([7, 8, 9], name="id"),
        pd.Index([1, 2, 3], name=5), pd.date_range("2026-01-01", periods=3, tz="Europe/Berlin"),
        pd.IntervalIndex.from_breaks([0, 1, 2, 3]), pd.CategoricalIndex(list("aba")),
        pd.MultiIndex.from_tuples([(1, "a"), (2, "b"), (3, "c")], names=["p", None]),
    ],
)  # fmt: skip
def test_an_index_comes_back(tmp_path: Path, index: Any) -> None:
    given = FRAME.set_axis(pd.Index(index) if isinstance(index, list) else index)
    keep_index(given, tmp_path)
    has_names = any(name is not None for name in given.index.names)
    as_read = given.reset_index(drop=not has_names).rename(columns=str).assign(prediction=0.5)
    found = with_index(as_read, tmp_path)
    assert list(found.columns) == ["a", "prediction"]
    assert given.join(found["prediction"]).prediction.eq(0.5).all() and list(found.index) == list(given.index)
    assert list(found.index.names) == [None if name is None else str(name) for name in given.index.names]


def test_an_index_that_no_file_can_hold_is_left_out(tmp_path: Path) -> None:
    keep_index(FRAME.set_axis(pd.Index([1, "a", 2.5])), tmp_path)
    assert list(with_index(FRAME, tmp_path).index) == [0, 1, 2]
