"""Counters in a chain of files, each of which has what has changed, against dictionaries that count, told plainly."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from elasticdl_nb.runtime.parameters.api import Push
from elasticdl_nb.runtime.parameters.bounded import BoundedTable
from elasticdl_nb.runtime.parameters.checkpoints.chain import read
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import Frame, load, save
from elasticdl_nb.runtime.parameters.optimizers.rules import optimizer_from_config
from elasticdl_nb.runtime.parameters.rows.counters import Counters
from elasticdl_nb.runtime.parameters.store import ParameterStore
from elasticdl_nb.runtime.parameters.table import TableSpec
from elasticdl_nb.runtime.spec.bounds import Bounds

ENOUGH, CAPACITY = 3, 6
SGD = {"class_name": "SGD", "config": {"learning_rate": 0.1, "momentum": 0.0, "nesterov": False}}
SPEC = TableSpec("t", 1, "zeros", bounds=Bounds(min_count=ENOUGH))


@pytest.fixture(scope="module", autouse=True)
def few_ids_are_counted():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bounds, "counted", lambda self, servers: -(-CAPACITY // servers))
        yield


def new_store(server=0, servers=1):
    store = ParameterStore(optimizer_from_config(SGD), server=server, servers=servers)
    store.add_table(SPEC)
    return store


class Told:
    """Counts ids as a store should."""

    def __init__(self):
        self.early, self.late, self.rows = {}, {}, set()

    def push(self, ids, counts):
        seen = {}
        for key, count in zip(ids, counts, strict=True):
            if key not in self.rows:
                seen[key] = seen.get(key, 0) + count
        if seen and len(self.late) >= CAPACITY:
            self.early, self.late = self.late, {}
        for key, count in seen.items():
            self.late[key] = min(ENOUGH, self.late.get(key, self.early.get(key, 0)) + count)
            if self.late[key] == ENOUGH:
                self.late[key] = 0
                self.rows.add(key)


def held(store):
    """The ids that have rows, and both halves of the counters."""
    table = store.tables["t"]
    assert isinstance(table, BoundedTable)
    halves = {True: {}, False: {}}
    for block in table.counters():
        assert block.half == table.half - (not block.late)
        of_half = dict(zip(block.ids.tolist(), block.counts.tolist(), strict=True))
        assert not set(halves[block.late]) & set(of_half)
        halves[block.late] |= of_half
    return set(table.ids().tolist()), halves[False], halves[True]


class Chain:
    """The files that a store has written, the mark of the last one, and what was counted then."""

    def __init__(self, directory: Path):
        self.directory, self.files, self.number = directory, [], 0
        self.store, self.told = new_store(), Told()
        self.marks = self.kept = None

    def push(self, ids, counts):
        gradients = np.ones((len(ids), 1), np.float32)
        rows = {"t": (np.array(ids, np.int64), gradients)}
        self.store.push(Push({}, rows, learning_rate=0.1, counts={"t": np.array(counts, np.int32)}))
        self.told.push(ids, counts)

    def save(self, old=False):
        """With `old`, as versions did that wrote all counters into each file."""
        changes = self.store.changed(self.marks) if self.files else None
        if old and changes is not None:
            every = [*self.store.tables["t"].counters()]
            changes = {"t": changes["t"]._replace(counts=every)}
        self.number += 1
        link = {"id": f"{self.number}", "follows": self.last_id() if self.files else ""}
        frames = [*self.store.snapshot(changes, link)]
        if old:
            frames = [Frame({k: v for k, v in one.meta.items() if k != "half"}, one.arrays) for one in frames]
        self.files.append(self.directory / f"{self.number}.ps")
        save(self.files[-1], frames)
        self.marks, self.kept = self.store.mark(), (dict(self.told.early), dict(self.told.late), set(self.told.rows))

    def last_id(self):
        return next(load(self.files[-1])).meta["id"]

    def compact(self, count):
        """Make one file of the first so many."""
        self.number += 1
        merged = self.directory / f"{self.number}.ps"
        frames = read(self.files[:count])
        state = next(frames)
        save(merged, [Frame({**state.meta, "follows": ""}), *frames])
        self.files[:count] = [merged]

    def go_back(self):
        self.store = new_store()
        self.store.restore([read(self.files)])
        self.told.early, self.told.late, self.told.rows = (type(one)(one) for one in self.kept)
        self.marks = self.store.mark()


IDS = st.lists(
    st.tuples(st.one_of(st.integers(-4, 12), st.integers(-(2**63), 2**63 - 1)), st.integers(1, 2)), max_size=5
)
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["push", "push", "push", "save", "save", "old", "compact", "go back"]), IDS), max_size=40
)
TWO_HALVES = [("push", [(one, 1) for one in range(first, first + 5)]) for first in range(0, 30, 5)]


@given(ACTIONS)
@example([("push", [(1, 1)]), ("save", []), *TWO_HALVES, ("save", []), ("go back", [])])  # what is forgotten stays so
@example([("old", []), *TWO_HALVES[:1], ("old", []), *TWO_HALVES[1:3], ("save", []), ("compact", [])])
@settings(max_examples=300, deadline=None)
def test_counters_of_a_chain_are_those_that_were_saved(tmp_path_factory, actions):
    chain, may_be_old = Chain(tmp_path_factory.mktemp("chain")), True
    for action, batch in [*actions, ("save", []), ("go back", [])]:
        if action == "push":
            chain.push([key for key, _ in batch], [count for _, count in batch])
        elif action in ("save", "old"):
            if may_be_old and action == "save" and chain.files:
                chain.go_back()  # a process of this version goes on with what one of an earlier version has written
            may_be_old = may_be_old and action == "old"
            chain.save(old=may_be_old)
        elif action == "compact" and chain.files:
            chain.compact(1 + len(batch) % len(chain.files))
        elif action == "go back" and chain.files:
            chain.go_back()
        assert held(chain.store) == (chain.told.rows, chain.told.early, chain.told.late)
    for servers in (2, 3):
        stores = [new_store(server, servers) for server in range(servers)]
        for store in stores:
            store.restore([read(chain.files)])
        parts = [held(store) for store in stores]
        assert set().union(*(rows for rows, _, _ in parts)) == chain.told.rows
        for place, expected in ((1, chain.told.early), (2, chain.told.late)):
            assert sum(len(part[place]) for part in parts) == len(expected)
            assert {key: count for part in parts for key, count in part[place].items()} == expected


def test_a_delta_has_only_the_counters_that_changed(tmp_path):
    chain = Chain(tmp_path)
    chain.push([1, 2, 3], [1, 1, 1])
    chain.save()
    chain.push([2, 4], [1, 1])
    chain.save()
    ids = [frame.arrays[0].tolist() for frame in load(chain.files[-1]) if frame.meta["kind"] == "counters"]
    assert ids == [[2, 4]]
    chain.save()
    assert not [frame for frame in load(chain.files[-1]) if frame.meta["kind"] == "counters"]


def test_nothing_is_noted_of_counters_without_marks():
    counters = Counters(2, 100)
    counters.add(np.arange(50), np.ones(50, np.int32))
    before = counters.nbytes
    counters.mark()
    counters.add(np.arange(50), np.ones(50, np.int32))
    assert counters.nbytes == before + 4 * 50
