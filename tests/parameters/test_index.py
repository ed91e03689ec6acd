import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.rows import index, kernels, kernels_numpy
from elasticdl_nb.runtime.parameters.rows.index import RowIndex, deduplicate

EXTREMES = [-(2**63), 2**63 - 1, 0, -1, 1, 2**32, -(2**32)]
IDS = st.one_of(st.integers(-20, 20), st.sampled_from(EXTREMES), st.integers(-(2**63), 2**63 - 1))
BATCHES = st.lists(st.lists(IDS, max_size=60), max_size=8)

both = pytest.mark.parametrize("use", [kernels, kernels_numpy], ids=["numba", "numpy"])


def array(ids):
    return np.array(ids, np.int64)


@both
@given(BATCHES)
@settings(max_examples=60, deadline=None)
def test_rows_are_given_in_the_order_of_appearance(use, batches):
    rows = RowIndex(use)
    model = {}
    for batch in batches:
        expected_found = [model.get(i, -1) for i in batch]
        assert rows.find(array(batch)).tolist() == expected_found
        expected = [model.setdefault(i, len(model)) for i in batch]
        assert rows.find_or_insert(array(batch)).tolist() == expected
    assert rows.ids.tolist() == list(model)


@both
def test_the_index_grows(use):
    rows = RowIndex(use)
    ids = np.random.default_rng(0).permutation(50_000).astype(np.int64) * 1_000_003 - 10**9
    for part in np.array_split(ids, 7):
        rows.find_or_insert(part)
    assert len(rows) == 50_000
    assert (rows.find(ids) == np.arange(50_000)).all()
    assert (rows.find(ids + 1) == -1).all()
    assert rows.nbytes < 50_000 * 24


@both
def test_ids_of_an_index_that_no_cache_holds_are_found(use):
    ids = np.random.default_rng(1).permutation(700_000).astype(np.int64) * 1_000_003
    rows = RowIndex(use)
    assert (rows.find_or_insert(ids) == np.arange(ids.size)).all()
    again = np.concatenate([ids[::-7], ids[:5] + 1, ids[:3]])
    assert rows._slots.size > kernels._CACHED
    assert (rows.find(again[:-3]) == [*range(ids.size)[::-7], *[-1] * 5]).all()
    found = rows.find_or_insert(again)
    assert (found == [*range(ids.size)[::-7], *range(ids.size, ids.size + 5), 0, 1, 2]).all()


@both
@given(st.lists(IDS, max_size=200))
@settings(max_examples=60, deadline=None)
def test_deduplication_keeps_the_order_and_inverts(use, ids):
    unique, inverse = deduplicate(array(ids), use)
    assert unique.tolist() == list(dict.fromkeys(ids))
    assert unique[inverse].tolist() == ids


def test_too_many_rows_are_refused(monkeypatch):
    monkeypatch.setattr(index, "MOST_ROWS", 10)
    with pytest.raises(DataError, match="beyond 10 rows"):
        RowIndex().find_or_insert(np.arange(11))
