"""Tables with bounds against dictionaries that do the same, told plainly."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from elasticdl_nb.runtime.parameters.bounded import BoundedTable
from elasticdl_nb.runtime.parameters.initializers import row_initializer
from elasticdl_nb.runtime.parameters.optimizers.rules import optimizer_from_config
from elasticdl_nb.runtime.parameters.rows import counters, kernels, kernels_numpy, recency
from elasticdl_nb.runtime.parameters.rows.index import ReusedIndex
from elasticdl_nb.runtime.parameters.table import EmbeddingTable, TableSpec
from elasticdl_nb.runtime.spec.bounds import Bounds

CONFIG = {"learning_rate": 0.1, "epsilon": 1e-7, "initial_accumulator_value": 0.1}
RULE = optimizer_from_config({"class_name": "Adagrad", "config": CONFIG}).rule
DIM = 2
BOTH = pytest.mark.parametrize("use", [kernels, kernels_numpy], ids=["numba", "numpy"])


def new_table(bounds, use=kernels, **place):
    return BoundedTable(TableSpec("t", DIM, bounds=bounds), RULE, use=use, **place)


def content(table):
    """{id: (weights, slot, last use)} as values that compare bit by bit."""
    return {
        key: (block.weights[i].tobytes(), block.slots[0][i].tobytes(), int(block.uses[i]))
        for block in table.export()
        for i, key in enumerate(block.ids.tolist())
    }


def moved(table, step, use, bounds):
    """What comes out of a checkpoint of the table."""
    other = new_table(bounds, use)
    for block in table.export():
        other.restore(block)
        other.restore_uses(block.ids, block.uses)
    for block in table.counters():
        other.restore_counters(block)
    other.times.times, other.times.steps = list(table.times.times), list(table.times.steps)
    other.admitted, other.evicted = table.admitted, table.evicted
    other.settle(step)
    return other


class Told:
    """What a bounded table does, told plainly."""

    def __init__(self, bounds):
        self.bounds, self.rows, self.seen, self.now = bounds, {}, {}, []
        self.initial = row_initializer("uniform", "t", DIM)
        self.admitted = self.evicted = 0

    def first(self, key):
        weights = np.empty((1, DIM), np.float32)
        self.initial(np.array([key], np.int64), weights)
        return weights

    def lookup(self, ids):
        return np.reshape([self.rows[key][0] if key in self.rows else self.first(key) for key in ids], (-1, DIM))

    def leave(self, keys):
        for key in keys:
            del self.rows[key]
            self.evicted += 1

    def oldest(self):
        def order(key):
            return self.rows[key][2], int(kernels_numpy.mix(np.array([key], np.int64))[0])

        return sorted(self.rows, key=order)

    def apply(self, ids, gradients, counts, step, now):
        bounds = self.bounds
        if bounds.ttl_steps:
            self.leave([key for key, row in self.rows.items() if step - row[2] > bounds.ttl_steps])
        if bounds.ttl_seconds:
            self.now = [(number, min(time, now)) for number, time in self.now]  # the clock may have gone back
            old = [number for number, time in self.now if time <= now - bounds.ttl_seconds]
            self.leave([key for key, row in self.rows.items() if old and row[2] <= max(old)])
            self.now.append((step, now))
        distinct = list(dict.fromkeys(ids))
        for key in distinct:
            if key in self.rows:
                self.rows[key][2] = step
        wanted = []
        for key in distinct:
            if key not in self.rows:
                self.seen[key] = self.seen.get(key, 0) + sum(n for k, n in zip(ids, counts, strict=True) if k == key)
                wanted += [key] if self.seen[key] >= bounds.min_count else []
        if bounds.max_rows:
            too_many = max(0, len(self.rows) + len(wanted) - bounds.max_rows)
            self.leave([key for key in self.oldest() if self.rows[key][2] < step][:too_many])
            wanted = wanted[: bounds.max_rows - len(self.rows)]
        for key in wanted:
            self.rows[key] = [self.first(key), np.full((1, DIM), 0.1, np.float32), step]
            self.admitted += 1
            del self.seen[key]
        for key in distinct:
            if key in self.rows:
                total = np.zeros((1, DIM), np.float32)
                for other, gradient in zip(ids, gradients, strict=True):
                    if other == key:
                        total += gradient
                row = self.rows[key]
                row[1] = row[1] + total * total
                row[0] = row[0] - np.float32(0.5) * total / np.sqrt(row[1] + np.float32(1e-7))

    def content(self):
        return {key: (weights.tobytes(), slot.tobytes(), use) for key, (weights, slot, use) in self.rows.items()}


KEYS = st.one_of(st.integers(-9, 9), st.integers(-(2**63), 2**63 - 1))
BATCH = st.lists(st.tuples(KEYS, st.integers(1, 4)), max_size=12)
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["apply", "apply", "apply", "look", "look", "move", "save"]), BATCH), max_size=25
)
BOUNDS = st.builds(
    Bounds,
    min_count=st.integers(1, 6),
    ttl_steps=st.sampled_from([0, 0, 1, 3, 8]),
    ttl_seconds=st.sampled_from([0.0, 0.0, 2.0]),
    max_rows=st.sampled_from([0, 1, 5, 12]),
)


ROWS_OF_ONE_STEP = [
    ("apply", [(1, 1), (-1, 1)]),
    ("apply", [(0, 1), (1, 1), (2, 1), (-2, 1), (3, 1)]),
    ("apply", [(-1, 1)]),
]


@BOTH
@given(BOUNDS, ACTIONS, st.integers(1, 40))
@example(Bounds(ttl_seconds=2.0), [("apply", []), ("apply", [(0, 1)] * 3), ("apply", [])], 1)  # two steps at once
@example(Bounds(max_rows=5), ROWS_OF_ONE_STEP, 2)  # one leaves that was already there, one is new
@settings(max_examples=100, deadline=None)
def test_a_table_does_what_a_dictionary_would(use, bounds, actions, least):
    """`least` rows are looked for at a time, so that queues of all lengths are met."""
    before, recency._LEAST = recency._LEAST, least
    try:
        table, told, snapshots, looked_up = new_table(bounds, use), Told(bounds), [], []
        rng = np.random.default_rng(len(actions))
        step, now = 0, 0.0
        for action, batch in actions:
            ids, counts = [key for key, _ in batch], [count for _, count in batch]
            keys = np.array(ids, np.int64)
            if action == "apply":
                if looked_up and rng.integers(2):  # what was looked up before others changed rows
                    ids = looked_up.pop(int(rng.integers(len(looked_up))))
                    keys, counts = np.array(ids, np.int64), [1] * len(ids)
                step, now = step + int(rng.integers(1, 3)), now + float(rng.integers(-2, 5))
                gradients = rng.normal(size=(len(ids), DIM)).astype(np.float32)
                table.apply(keys, gradients, 0.5, step, counts=np.array(counts, np.int32), now=now)
                told.apply(ids, gradients, counts, step, now)
            elif action == "look":
                for create in (True, False):
                    np.testing.assert_array_equal(table.lookup(keys, create=create), told.lookup(ids))
                looked_up.append(list(dict.fromkeys(ids)))
                table.lookup(np.array(looked_up[-1], np.int64))
            elif action == "move":
                table = moved(table, step, use, bounds)
            else:
                snapshots.append((table.export(), told.content()))
            assert (len(table), table.admitted, table.evicted) == (len(told.rows), told.admitted, told.evicted)
        assert content(table) == told.content()
        for blocks, expected in snapshots:  # as of the call, whatever left or came since
            kept = {
                key: use for block in blocks for key, use in zip(block.ids.tolist(), block.uses.tolist(), strict=True)
            }
            assert kept == {key: use for key, (_, _, use) in expected.items()}
    finally:
        recency._LEAST = before


@BOTH
def test_frozen_rows_stay_as_they_were_while_others_take_their_place(use):
    table = new_table(Bounds(max_rows=50), use)
    table.apply(np.arange(50), np.ones((50, DIM), np.float32), 0.1, 1)
    before = content(table)
    frozen = table.export()
    table.apply(np.arange(30, 70), np.ones((40, DIM), np.float32), 0.1, 2)
    (block,) = frozen
    kept = {key: block.weights[i].tobytes() for i, key in enumerate(block.ids.tolist())}
    assert kept == {key: weights for key, (weights, _, _) in before.items()}
    assert set(content(table)) >= set(range(30, 70)) and len(table) == 50


@BOTH
def test_wide_bounds_change_nothing(use):
    rng = np.random.default_rng(3)
    plain = EmbeddingTable(TableSpec("t", DIM), RULE, use)
    wide = new_table(Bounds(ttl_steps=10**6, max_rows=10**6), use)
    for step in range(1, 30):
        ids = rng.zipf(1.2, 500) % 4000
        gradients = rng.normal(size=(500, DIM)).astype(np.float32)
        np.testing.assert_array_equal(plain.lookup(ids), wide.lookup(ids))
        plain.apply(ids, gradients, 0.1, step)
        wide.apply(ids, gradients, 0.1, step)
    ids = np.arange(4000)
    np.testing.assert_array_equal(plain.lookup(ids), wide.lookup(ids))


@BOTH
def test_memory_is_used_again(use):
    """Ten times as many ids as rows pass; the table does not grow once it is full."""
    table = new_table(Bounds(max_rows=2000), use)
    sizes = []
    for step in range(1, 41):
        ids = np.arange(500 * step, 500 * step + 500)
        table.apply(ids, np.ones((500, DIM), np.float32), 0.1, step)
        sizes.append(table.nbytes)
    assert len(table) == 2000
    assert table._reused.length == 2000
    assert sizes[-1] <= sizes[4] + 4 * 2000  # the list of free rows


@BOTH
@given(st.lists(st.tuples(st.booleans(), st.lists(KEYS, max_size=30)), max_size=20))
@settings(max_examples=60, deadline=None)
def test_ids_that_leave_an_index_leave_the_others_findable(use, actions):
    index, known = ReusedIndex(use), {}
    for remove, keys in actions:
        mine = [key for key in dict.fromkeys(keys) if (key in known) == remove]
        if remove:
            index.remove(np.array([known.pop(key) for key in mine], np.int32))
        else:
            rows = index.reserve(len(mine))
            index.put(np.array(mine, np.int64), rows)
            known |= dict(zip(mine, rows.tolist(), strict=True))
        assert len(index) == len(known) == len(set(known.values()))
        asked = np.array([*known, *keys], np.int64)
        assert index.find(asked).tolist() == [known.get(key, -1) for key in asked.tolist()]


def test_both_kernels_give_the_same_rows_in_a_large_index():
    indexes = [ReusedIndex(use) for use in (kernels, kernels_numpy)]
    rng = np.random.default_rng(1)
    held = np.empty(0, np.int64)
    for _ in range(6):
        new = np.setdiff1d(rng.integers(-(2**63), 2**63 - 1, 3000), held)
        gone = rng.permutation(held)[: held.size // 2]
        for index in indexes:
            index.remove(index.find(gone))
            index.put(new, index.reserve(new.size))
        held = np.concatenate([np.setdiff1d(held, gone), new])
        first, second = (index.find(held) for index in indexes)
        np.testing.assert_array_equal(first, second)
        assert (first >= 0).all() and (indexes[0].find(gone) < 0).all()


def test_counters_are_exact_for_ids_that_come_again_soon_enough_and_never_too_high():
    counted = counters.Counters(5, 100)
    rng = np.random.default_rng(2)
    exact = {}
    for turn in range(200):
        ids = np.unique(np.concatenate([[-1], rng.integers(0, 3000, 20)]))
        enough = counted.add(ids, np.ones(ids.size, np.int32))
        for key, is_enough in zip(ids.tolist(), enough.tolist(), strict=True):
            exact[key] = exact.get(key, 0) + 1
            assert not is_enough or exact[key] >= 5
        assert enough[0] == (turn >= 4)
        assert len(counted) <= 2 * (100 + 21)


@pytest.mark.parametrize(("given", "bounds"), [
    ({}, None),
    ({"min_count": 1}, None),
    ({"min_count": "5"}, Bounds(min_count=5)),
    ({"ttl": 1000}, Bounds(ttl_steps=1000)),
    ({"ttl": "1000"}, Bounds(ttl_steps=1000)),
    ({"ttl": "7d", "max_rows": 10}, Bounds(ttl_seconds=7 * 86400.0, max_rows=10)),
    ({"ttl": "1.5h"}, Bounds(ttl_seconds=5400.0)),
])  # fmt: skip
def test_what_users_say(given, bounds):
    assert Bounds.of(**given) == bounds
    assert bounds is None or Bounds.from_json(bounds.to_json()) == bounds


@pytest.mark.parametrize("given", [
    {"min_count": 0}, {"min_count": -1}, {"min_count": 2.5}, {"min_count": True}, {"max_rows": 0}, {"max_rows": "many"},
    {"ttl": 0}, {"ttl": "0s"}, {"ttl": "7 years"}, {"ttl": 1.5}, {"ttl": "-3d"}, {"ttl": ""}, {"max_rows": 2**31},
])  # fmt: skip
def test_what_is_no_bound(given):
    (name,) = given
    with pytest.raises(ValueError, match=f"^{name}="):
        Bounds.of(**given)


def test_rows_leave_in_time_after_a_clock_that_was_years_ahead():
    table = new_table(Bounds(ttl_seconds=60.0))
    for step, (key, now) in enumerate([(1, 1000.0), (2, 1e9), (3, 1001.0), (4, 1062.0), (5, 1130.0)], 1):
        table.apply(np.array([key]), np.ones((1, DIM), np.float32), 0.1, step, now=now)
    assert set(table.ids().tolist()) == {5}, "1 left early, and the others 60 seconds after the clock was right again"


def test_shares_add_up():
    for most in (1, 7, 1000):
        for servers in (1, 2, 3, 5):
            shares = [Bounds(max_rows=most).share(server, servers) for server in range(servers)]
            assert sum(shares) == max(most, servers) and max(shares) - min(shares) <= 1
