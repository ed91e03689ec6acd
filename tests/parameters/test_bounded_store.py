"""What stores with bounded tables hold after kills, repetitions and other numbers of servers."""

import numpy as np
import pytest

from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.api import Push
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import Frame
from elasticdl_nb.runtime.parameters.effects import TaskPart
from elasticdl_nb.runtime.parameters.mapped.form import Described, read_description, stem, write_description
from elasticdl_nb.runtime.parameters.mapped.reading import MappedTables
from elasticdl_nb.runtime.parameters.optimizers.rules import optimizer_from_config
from elasticdl_nb.runtime.parameters.partition import owners
from elasticdl_nb.runtime.parameters.store import ParameterStore, UpdatePolicy
from elasticdl_nb.runtime.parameters.table import TableSpec
from elasticdl_nb.runtime.spec.bounds import Bounds

ADAM = {"learning_rate": 0.1, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "amsgrad": False, "clipnorm": 1.0}
BOUNDS = Bounds(min_count=3, ttl_steps=25, max_rows=60)
SPECS = [TableSpec("bounded", 2, bounds=BOUNDS), TableSpec("plain", 2)]


def new_store(server=0, servers=1, policy=None):
    optimizer = optimizer_from_config({"class_name": "Adam", "config": ADAM})
    store = ParameterStore(optimizer, policy, server=server, servers=servers)
    for spec in SPECS:
        store.add_table(spec)
    return store


def pushes(count, server=0, servers=1, seed=0):
    """A server's share of the gradients of so many steps."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        ids = rng.zipf(1.3, 40) % 500
        gradients = rng.normal(size=(40, 2)).astype(np.float32)
        mine = owners(ids, servers) == server
        ids, gradients = ids[mine], gradients[mine]
        counts = np.ones(ids.size, np.int32)
        part = TaskPart(0, number // 7, number % 7 * 40, number % 7 * 40 + 40)
        rows = {name: (ids, gradients) for name in ("bounded", "plain")}
        yield Push({}, rows, learning_rate=0.1, source="w", sequence=number + 1, part=part, counts={"bounded": counts})


def content(*stores):
    """Everything that tables hold, by id, without what depends on the order of rows."""
    rows, counted = {}, {}
    for store in stores:
        for name in store.tables:
            for block in store.export(name):
                uses = block.ids * 0 if block.uses is None else block.uses
                for i, key in enumerate(block.ids.tolist()):
                    values = (block.weights[i].tobytes(), *(slot[i].tobytes() for slot in block.slots), int(uses[i]))
                    assert rows.setdefault((name, key), values) is values
        for block in store.tables["bounded"].counters():
            for key, count in zip(block.ids.tolist(), block.counts.tolist(), strict=True):
                counted[key] = count
    sums = [sum(getattr(store.held(), name) for store in stores) for name in ("rows", "admitted", "evicted")]
    return rows, {key: count for key, count in counted.items() if count}, sums


def saved(store):
    """A checkpoint in memory."""
    return [Frame(dict(frame.meta), [array.copy() for array in frame.arrays]) for frame in store.snapshot()]


def restored(files, server=0, servers=1):
    store = new_store(server, servers)
    store.restore(files)
    return store


def test_counters_and_rows_survive_kills_and_repetitions():
    undisturbed = new_store()
    for push in pushes(150):
        undisturbed.push(push)
    rng = np.random.default_rng(9)
    store, checkpoint, kept = new_store(), None, 0
    every = list(pushes(150))
    number = kills = 0
    while number < 150:
        if rng.random() < 0.2 and kills < 30:  # killed: back to the checkpoint, whose steps are made again
            kills += 1
            store, number = restored([checkpoint]) if checkpoint else new_store(), kept
        elif rng.random() < 0.2:
            checkpoint, kept = saved(store), number
        else:
            assert store.push(every[number]).accepted
            if rng.random() < 0.3:  # the answer was lost, and the gradients are sent again, by another process too
                store.push(every[number])
                store.push(Push(**{**vars(every[number]), "source": "other", "sequence": 1}))
            number += 1
            store.lookup("bounded", rng.integers(0, 10_000, 20))  # what is only read counts for nothing
    assert kills == 30 and undisturbed.held().evicted > 20
    assert content(store) == content(undisturbed)


def test_another_number_of_servers_holds_the_same():
    stores = [new_store(server, 2) for server in range(2)]
    for server, store in enumerate(stores):
        for push in pushes(60, server, 2):
            store.push(push)
    before = content(*stores)
    for servers in (2, 1, 3, 2):
        files = [saved(store) for store in stores]
        stores = [restored(files, server, servers) for server in range(servers)]
        after = content(*stores)
        assert after[1] == before[1]
        gone = set(before[0]) - set(after[0])  # where the share of a server became too small
        assert after[0] == {key: row for key, row in before[0].items() if key not in gone}
        assert after[2][2] == before[2][2] + len(gone)
        assert len([1 for name, _ in after[0] if name == "bounded"]) <= 60
        before = after


def test_a_mean_of_gradients_counts_what_all_of_them_saw():
    store = new_store(policy=UpdatePolicy(grads_to_wait=2))
    for ids, counts in (([1, 2, 3], [1, 2, 1]), ([2, 4], [1, 3])):
        rows = {"bounded": (np.array(ids), np.ones((len(ids), 2), np.float32))}
        store.push(Push({}, rows, learning_rate=0.1, counts={"bounded": np.array(counts, np.int32)}))
    assert {key for _, key in content(store)[0]} == {2, 4}


def test_rows_of_another_checkpoint_count_as_used_when_they_were_read():
    plain = ParameterStore(new_store().optimizer)
    plain.add_table(TableSpec("bounded", 2))
    for push in pushes(10):
        plain.push(Push({}, {"bounded": push.rows["bounded"]}, learning_rate=0.1))
    store = new_store()
    store.restore([[frame for frame in saved(plain) if frame.meta["kind"] != "table"]])
    assert {uses for *_, uses in content(store)[0].values()} == {10}


def test_counts_that_do_not_fit_are_refused():
    ids, gradients = np.array([1, 2]), np.ones((2, 2), np.float32)
    for counts in (
        {"bounded": np.ones(3, np.int32)}, {"plain": np.ones(2, np.int32)}, {"bounded": np.ones(2)},
        {"bounded": np.array([1, -1], np.int32)},
    ):  # fmt: skip
        with pytest.raises(DataError, match="counts of ids"):
            new_store().push(Push({}, {"bounded": (ids, gradients)}, counts=counts))


def test_files_of_a_trained_model_have_the_rows_that_are_left(tmp_path):
    store = new_store()
    for push in pushes(60):
        store.push(push)
    parts = [part for part in store.write("bounded", tmp_path / stem(0), "float32") if part is not None]
    digest = write_description(tmp_path, [Described(SPECS[0], "float32", tuple(parts))])
    assert read_description(tmp_path, digest)[0].spec == SPECS[0]
    tables, every = MappedTables(tmp_path, digest), np.arange(500)
    assert tables.count("bounded") == len(store.tables["bounded"]) < 100
    np.testing.assert_array_equal(tables.lookup("bounded", every), store.lookup("bounded", every))
