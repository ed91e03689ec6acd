from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdl_nb.runtime.compiled import ENABLED
from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters import partition
from elasticdl_nb.runtime.parameters.api import Push
from elasticdl_nb.runtime.parameters.checkpoints.chain import checkpoint_files, read
from elasticdl_nb.runtime.parameters.checkpoints.local import read_checkpoint
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import file_name, save, save_stepwise
from elasticdl_nb.runtime.parameters.effects import TaskPart
from elasticdl_nb.runtime.parameters.generations import StoreService
from elasticdl_nb.runtime.parameters.optimizers import updates
from elasticdl_nb.runtime.parameters.optimizers.rules import optimizer_from_config
from elasticdl_nb.runtime.parameters.partition import DensePartition, split_ids
from elasticdl_nb.runtime.parameters.rows import kernels
from elasticdl_nb.runtime.parameters.store import ParameterStore, UpdatePolicy, warm_up
from elasticdl_nb.runtime.parameters.table import RowBlock, TableSpec
from elasticdl_nb.runtime.storage.checkpoints import seal

SGD = {"class_name": "SGD", "config": {"learning_rate": 0.5, "momentum": 0.0, "nesterov": False}}
ADAM = {
    "class_name": "Adam",
    "config": {"learning_rate": 0.1, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "amsgrad": False},
}
DECAYING = {
    "class_name": "SGD",
    "config": {
        "momentum": 0.0,
        "nesterov": False,
        "learning_rate": {
            "class_name": "PiecewiseConstantDecay",
            "config": {"boundaries": [0], "values": [0.5, 0.25]},
        },
    },
}
KEY = "w@0:3/3"


def new_store(config=SGD, policy=None, **place):
    store = ParameterStore(optimizer_from_config(config), policy, **place)
    store.add_table(TableSpec("t", 2, "zeros"))
    return store


def dense(*values):
    return Push({KEY: np.array(values, np.float32)})


def rows(ids, *values):
    return Push(rows={"t": (np.array(ids), np.array(values, np.float32))})


def push(store, gradients, version=0, **more):
    return store.push(replace(gradients, version=version, **more))


@pytest.fixture
def store():
    store = new_store()
    store.initialize({KEY: np.zeros(3, np.float32)})
    return store


def sync(wait, tolerance=0):
    store = new_store(policy=UpdatePolicy(grads_to_wait=wait, version_tolerance=tolerance))
    store.initialize({KEY: np.zeros(3, np.float32)})
    return store


# ------------------------------------------------------------ asynchronous


def test_a_push_is_applied_at_once(store):
    result = push(store, Push(dense(1, 2, 3).dense, rows([4, 4], [1, 1], [2, 2]).rows), 0)
    assert (result.accepted, result.version) == (True, 1)
    assert store.pull([KEY])[KEY].tolist() == [-0.5, -1, -1.5]
    assert store.lookup("t", np.array([4, 9])).tolist() == [[-1.5, -1.5], [0, 0]]


def test_the_first_initial_values_stay(store):
    assert store.initialize({KEY: np.ones(3, np.float32), "b@0:1/1": np.ones(1, np.float32)}) == ["b@0:1/1"]
    assert store.pull()[KEY].tolist() == [0, 0, 0]


def test_initial_values_are_copied():
    store, values = new_store(), np.zeros(3, np.float32)
    store.initialize({KEY: values})
    push(store, dense(1, 1, 1), 0)
    pulled = store.pull()[KEY]
    push(store, dense(1, 1, 1), 0)
    assert values.tolist() == [0, 0, 0]
    assert pulled.tolist() == [-0.5, -0.5, -0.5]


def test_the_schedule_follows_the_version_and_a_given_rate_wins():
    store = new_store(DECAYING)
    store.initialize({KEY: np.zeros(3, np.float32)})
    push(store, dense(1, 0, 0), 0)
    push(store, dense(0, 1, 0), 0)
    push(store, dense(0, 0, 1), 0, learning_rate=2.0)
    assert store.pull()[KEY].tolist() == [-0.5, -0.25, -2]


def test_staleness_lowers_the_learning_rate():
    store = new_store(policy=UpdatePolicy(staleness_modulation=True))
    store.initialize({KEY: np.zeros(3, np.float32)})
    for _ in range(4):
        push(store, dense(0, 0, 0), store.version)
    push(store, dense(1, 0, 0), 4)
    push(store, dense(0, 1, 0), 4)
    push(store, dense(0, 0, 1), 2)
    assert store.pull()[KEY].tolist() == [-0.5, -0.5, -0.125]


def test_values_can_be_assigned_without_a_step(store):
    store.assign({KEY: np.array([7, 8, 9], np.float32)})
    assert store.version == 0
    assert store.pull()[KEY].tolist() == [7, 8, 9]


def test_a_push_sent_twice_counts_once(store):
    first = push(store, dense(1, 1, 1), 0, source="worker-0", sequence=1)
    assert push(store, dense(1, 1, 1), 0, source="worker-0", sequence=1) == first
    assert push(store, dense(1, 1, 1), 0, source="worker-1", sequence=1).version == 2
    push(store, dense(1, 1, 1), 0, source="worker-0", sequence=2)
    late = push(store, dense(1, 1, 1), 0, source="worker-0", sequence=1)
    assert not late.accepted and "older than its last" in late.reason
    assert store.pull()[KEY].tolist() == [-1.5] * 3


@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        (Push({"v@0:3/3": np.ones(3, np.float32)}), "does not hold v@0:3/3. Did you mean 'w@0:3/3'"),
        (Push({KEY: np.ones(2, np.float32)}), "3 values of float32 are needed, not 2 of float32"),
        (Push({KEY: np.ones(3)}), "not 3 of float64"),
        (rows([1], [1, 2, 3]), "embedding t: gradients of shape"),
        (Push(rows={"u": (np.array([1]), np.ones((1, 2), np.float32))}), "no embedding named u"),
    ],
)
def test_gradients_that_do_not_fit_change_nothing(store, gradients, message):
    mixed = Push({KEY: np.ones(3, np.float32), **gradients.dense}, gradients.rows)
    with pytest.raises(DataError, match=message):
        push(store, mixed, 0, source="worker-0", sequence=1)
    assert store.version == 0
    assert store.pull()[KEY].tolist() == [0, 0, 0]
    assert push(store, dense(1, 1, 1), 0, source="worker-0", sequence=1).accepted


def test_a_table_of_another_size_is_refused(store):
    store.add_table(TableSpec("t", 2, "ones"))
    with pytest.raises(DataError, match="embedding t has rows of 2 values, not of 3"):
        store.add_table(TableSpec("t", 3))
    with pytest.raises(DataError, match=r"no embedding named tt was declared\. Did you mean 't'"):
        store.lookup("tt", np.array([1]))


def from_message(array):
    """Return the array as it comes out of a message: read-only, and beginning at an odd address."""
    return np.frombuffer(b"x" + array.tobytes(), array.dtype, offset=1).reshape(array.shape)


def test_arrays_out_of_messages_do(store):
    ids, values = np.array([4, 4, -2]), np.array([[1, 1], [2, 2], [3, 3]], np.float32)
    gradients = Push({KEY: from_message(np.ones(3, np.float32))}, {"t": (from_message(ids), from_message(values))})
    push(store, gradients)
    assert store.pull()[KEY].tolist() == [-0.5, -0.5, -0.5]
    assert store.lookup("t", from_message(ids)).tolist() == [[-1.5, -1.5], [-1.5, -1.5], [-1.5, -1.5]]


def compilations():
    loops = [update.loop for update in vars(updates).values() if isinstance(update, updates.Update)]
    others = [one for one in vars(kernels).values() if hasattr(one, "signatures") and one is not kernels.mix]
    return sum(len(one.signatures) for one in (*loops, *others))


@pytest.mark.skipif(not ENABLED, reason="numba is not installed or switched off")
def test_nothing_is_compiled_after_the_warm_up():
    store = new_store(ADAM)
    store.initialize({KEY: np.zeros(3, np.float32)})
    warm_up(store.optimizer)
    before = compilations()
    for wrap in (np.asarray, from_message):
        for ids in ([1, 1], [1, 2]):
            keys, values = wrap(np.array(ids)), wrap(np.ones((2, 2), np.float32))
            push(store, Push({KEY: wrap(np.ones(3, np.float32))}, {"t": (keys, values)}), 0)
            store.lookup("t", keys)
            store.lookup("t", keys, create=False)
    store.lookup("t", np.arange(10_000))
    back = new_store(ADAM)
    for block in store.export("t"):
        back.tables["t"].restore(RowBlock(*map(from_message, block[:2]), tuple(map(from_message, block.slots))))
    assert compilations() == before


# ------------------------------------------------------------ synchronous


def test_the_mean_of_the_awaited_pushes_is_applied():
    store = sync(2)
    first = push(store, Push(dense(1, 1, 1).dense, rows([5], [4, 4]).rows), 0)
    assert (first.accepted, first.version, store.waiting) == (True, 0, 1)
    second = push(store, Push(dense(3, 3, 3).dense, rows([5, 6], [2, 2], [2, 2]).rows), 0)
    assert (second.accepted, second.version, store.waiting) == (True, 1, 0)
    assert store.pull()[KEY].tolist() == [-1, -1, -1]
    assert store.lookup("t", np.array([5, 6])).tolist() == [[-1.5, -1.5], [-0.5, -0.5]]


def test_the_sizes_of_the_awaited_pushes_are_those_of_their_shares():
    config = {"learning_rate": 1.0, "initial_accumulator_value": 0.0, "epsilon": 0.0}
    store = new_store({"class_name": "Adagrad", "config": config}, UpdatePolicy(grads_to_wait=2))
    store.initialize({KEY: np.zeros(3, np.float32)})
    for gradients, sizes in (((2, 2, 2), (2, 4, 16)), ((2, 2, 2), (2, 12, 0))):
        push(store, dense(*gradients), sizes={KEY: np.array(sizes, np.float32)})
    assert store.pull()[KEY].tolist() == [-2, -1, -1]
    with pytest.raises(DataError, match="3 values of float32 are needed"):
        push(store, dense(1, 1, 1), store.version, sizes={KEY: np.ones(2, np.float32)})


def test_a_mean_weighs_records():
    store = sync(2)
    push(store, Push(dense(1, 1, 1).dense, rows([5], [4, 4]).rows), part=TaskPart(0, 0, 0, 3))
    push(store, Push(dense(5, 5, 5).dense, rows([6], [4, 4]).rows), part=TaskPart(0, 1, 0, 1))
    assert store.pull()[KEY].tolist() == [-1, -1, -1]
    assert store.lookup("t", np.array([5, 6])).tolist() == [[-1.5, -1.5], [-0.5, -0.5]]


@pytest.mark.parametrize(
    ("clipping", "left"),
    [({"clipvalue": 2.0}, (2, 2)), ({"clipnorm": 4.0}, (4, 4)), ({"global_clipnorm": 5.0}, (4, 3))],
)
def test_what_is_clipped_is_the_mean(clipping, left):
    store = new_store({**SGD, "config": {**SGD["config"], **clipping}}, UpdatePolicy(grads_to_wait=2))
    store.initialize({KEY: np.zeros(3, np.float32)})
    for sign in (1, -1):  # the means are (8, 0, 0) and (6, 0)
        push(store, Push(dense(8, sign * 100, 0).dense, rows([5, 5], [3, 0], [3, sign * 9]).rows))
    assert store.pull()[KEY].tolist() == pytest.approx([-0.5 * left[0], 0, 0])
    assert store.lookup("t", np.array([5])).tolist() == [pytest.approx([-0.5 * left[1], 0])]


def test_old_gradients_are_rejected_with_the_reason():
    store = sync(1)
    push(store, dense(1, 1, 1), 0)
    late = push(store, dense(1, 1, 1), 0, source="w", sequence=1)
    assert (late.accepted, late.version) == (False, 1)
    assert late.reason == "computed from version 0, 1 behind; 0 is tolerated"
    assert push(store, dense(1, 1, 1), 1, source="w", sequence=1).accepted


def test_some_staleness_can_be_tolerated():
    store = sync(1, tolerance=1)
    push(store, dense(1, 1, 1), 0)
    assert push(store, dense(1, 1, 1), 0).accepted
    assert not push(store, dense(1, 1, 1), 0).accepted


def test_a_push_without_gradients_for_this_server_counts():
    store = sync(2)
    push(store, Push(), 0)
    assert push(store, dense(2, 2, 2), 0).version == 1
    assert store.pull()[KEY].tolist() == [-0.5, -0.5, -0.5]


def test_what_waits_is_not_lost_at_the_end():
    store = sync(3)
    push(store, dense(1, 1, 1), 0)
    push(store, dense(3, 3, 3), 0)
    assert store.flush() == 1
    assert store.flush() == 1
    assert store.pull()[KEY].tolist() == [-1, -1, -1]


# ------------------------------------------------------------ checkpoints

SHAPES = {"a": (3, 4), "b": (5,), "big": (40, 10), "untrained": (2,)}


class Fleet:
    """Some servers, as workers see them."""

    def __init__(self, servers):
        self.partition = DensePartition(SHAPES, servers)
        self.stores = [new_store(ADAM, server=i, servers=servers) for i in range(servers)]

    def initialize(self, values):
        for store, part in zip(self.stores, self.partition.split(values), strict=True):
            store.initialize(part)

    def push(self, values, ids, gradients):
        places = split_ids(ids, len(self.stores))
        for store, part, place in zip(self.stores, self.partition.split(values), places, strict=True):
            push(store, Push(part, {"t": (ids[place], gradients[place])}), store.version)

    def pull(self):
        return self.partition.join({key: value for store in self.stores for key, value in store.pull().items()})

    def lookup(self, ids):
        out = np.empty((ids.size, 2), np.float32)
        for store, place in zip(self.stores, split_ids(ids, len(self.stores)), strict=True):
            out[place] = store.lookup("t", ids[place])
        return out

    def save(self, directory):
        for i, store in enumerate(self.stores):
            save(directory / file_name(i, len(self.stores)), store.snapshot())

    def restore(self, directory):
        for store in self.stores:
            store.restore(read_checkpoint(directory, [], store.server, store.servers))


def train(fleets, steps, seed):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        values = {name: rng.normal(size=SHAPES[name]).astype(np.float32) for name in ("a", "b", "big")}
        ids = rng.integers(-50, 50, 30)
        gradients = rng.normal(size=(30, 2)).astype(np.float32)
        for fleet in fleets:
            fleet.push(values, ids, gradients)


def assert_equal(one, other):
    for name, value in one.pull().items():
        np.testing.assert_array_equal(value, other.pull()[name])
    ids = np.arange(-60, 60)
    np.testing.assert_array_equal(one.lookup(ids), other.lookup(ids))
    assert {store.version for store in one.stores} == {store.version for store in other.stores}


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_training_goes_on_in_another_number_of_servers(tmp_path_factory, before, after, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partition, "SLICE", 64)
        directory = tmp_path_factory.mktemp("checkpoint")
        rng = np.random.default_rng(seed)
        first = Fleet(before)
        first.initialize({name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()})
        train([first], 3, seed)
        first.save(directory)
        second = Fleet(after)
        second.restore(directory)
        assert_equal(first, second)
        train([first, second], 3, seed + 1)
        assert_equal(first, second)


def test_a_snapshot_is_of_its_moment(tmp_path):
    fleet = Fleet(1)
    fleet.initialize({name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()})
    train([fleet], 3, 0)
    fleet.save(tmp_path)
    expected = (tmp_path / file_name(0, 1)).read_bytes()
    steps = save_stepwise(tmp_path / "other", fleet.stores[0].snapshot())
    for _ in steps:
        train([fleet], 1, 1)
    assert (tmp_path / "other").read_bytes() == expected


def test_a_snapshot_applies_what_waits():
    store = sync(2)
    push(store, dense(1, 1, 1), 0)
    frames = list(store.snapshot())
    assert frames[0].meta["version"] == 1
    other = new_store()
    other.restore([frames])
    assert other.pull()[KEY].tolist() == [-0.5, -0.5, -0.5]
    assert other.version == 1


def test_another_optimizers_checkpoint_is_refused(tmp_path):
    fleet = Fleet(1)
    fleet.save(tmp_path)
    with pytest.raises(
        DataError, match=r"written with the optimizer Adam, which keeps momentum, velocity .* keeps nothing"
    ):
        new_store(SGD).restore(read(files) for files in checkpoint_files(tmp_path))


def test_a_checkpoint_without_all_servers_is_refused(tmp_path):
    fleet = Fleet(3)
    fleet.initialize({name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()})
    fleet.save(tmp_path)
    with pytest.raises(DataError, match=r"of 3 parameter servers was read from the files of servers \[0, 1\]"):
        new_store(ADAM).restore(read(files) for files in checkpoint_files(tmp_path)[:2])


def test_the_records_of_a_task_have_their_effect_once() -> None:
    store = ParameterStore(optimizer_from_config(SGD))
    store.initialize({KEY: np.zeros(3, np.float32)})
    one = Push({KEY: np.ones(3, np.float32)})
    first, second = TaskPart(0, 3, 0, 4), TaskPart(0, 3, 4, 8)
    assert store.push(replace(one, version=0, part=first)).accepted
    assert store.push(replace(one, version=0, part=first)).accepted  # another worker has done the same again
    assert store.version == 1
    early = store.push(replace(one, version=0, part=TaskPart(0, 3, 8, 12)))
    assert early.gap and not early.accepted
    restored = ParameterStore(optimizer_from_config(SGD))
    restored.restore([store.snapshot()])
    for each in (store, restored):
        assert each.push(replace(one, version=0, part=first)).accepted and each.version == 1
        assert each.push(replace(one, version=0, part=second)).accepted and each.version == 2
    restored.count_from_zero()
    assert restored.push(replace(one, version=0, part=first)).accepted and restored.version == 1


def test_a_gradient_that_is_too_old_has_no_effect_and_may_come_again() -> None:
    store = ParameterStore(optimizer_from_config(SGD), UpdatePolicy(grads_to_wait=1))
    store.initialize({KEY: np.zeros(3, np.float32)})
    one, part = Push({KEY: np.ones(3, np.float32)}), TaskPart(0, 0, 0, 4)
    store.push(replace(one, version=0, part=TaskPart(0, 1, 0, 4)))
    assert not store.push(replace(one, version=0, part=part)).accepted
    assert store.push(replace(one, version=1, part=part)).accepted and store.version == 2


def test_a_server_that_knows_the_jobs_optimizer_serves_a_checkpoint_before_any_worker_comes(tmp_path):
    remembered, folder = tmp_path / "optimizer.json", tmp_path / "checkpoint"
    config = {"class_name": "SGD", "config": {"learning_rate": 0.5, "momentum": 0.0, "nesterov": False}}
    first = StoreService(remembered=remembered)
    first.warm_up()  # there is nothing to know yet
    store = first.initialize(config, {"w@0:2/2": np.ones(2, np.float32)}, [])
    folder.mkdir()
    save(folder / file_name(0, 1), store.snapshot())
    seal(folder, store.version, "job")
    other = StoreService(remembered=remembered)
    other.warm_up()
    other.begin(2, folder)
    assert other.declared
    np.testing.assert_array_equal(other.store.pull()["w@0:2/2"], np.ones(2, np.float32))
    remembered.write_text("{}")  # nothing that a server could use
    third = StoreService(remembered=remembered)
    third.warm_up()
    third.begin(2, folder)
    assert not third.declared
