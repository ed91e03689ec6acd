import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.initializers import row_initializer
from elasticdl_nb.runtime.parameters.optimizers.rules import optimizer_from_config
from elasticdl_nb.runtime.parameters.rows import kernels, kernels_numpy
from elasticdl_nb.runtime.parameters.table import EmbeddingTable, RowBlock, TableSpec

ADAGRAD = {"learning_rate": 0.1, "epsilon": 1e-7, "initial_accumulator_value": 0.1}
ADAM = {"learning_rate": 0.1, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "amsgrad": False}


def rule(name="Adagrad"):
    config = {"Adagrad": ADAGRAD, "Adam": ADAM}[name]
    return optimizer_from_config({"class_name": name, "config": config}).rule


def new_table(dim=3, use=kernels, name="Adagrad"):
    return EmbeddingTable(TableSpec("t", dim), rule(name), use)


def content(blocks):
    """Return {id: (weights, slots)} as bytes."""
    rows = {}
    for block in blocks:
        for i, key in enumerate(block.ids.tolist()):
            assert key not in rows
            rows[key] = (block.weights[i].tobytes(), *(slot[i].tobytes() for slot in block.slots))
    return rows


class DictTable:
    """What a table does, told plainly."""

    def __init__(self, dim):
        self.dim = dim
        self.initial = row_initializer("uniform", "t", dim)
        self.rows = {}

    def row(self, key):
        if key not in self.rows:
            weights = np.empty((1, self.dim), np.float32)
            self.initial(np.array([key], np.int64), weights)
            self.rows[key] = (weights, np.full((1, self.dim), 0.1, np.float32))
        return self.rows[key]

    def apply(self, ids, gradients, rate, step):
        for key in dict.fromkeys(ids):
            total = np.zeros((1, self.dim), np.float32)
            for other, gradient in zip(ids, gradients, strict=True):
                if other == key:
                    total += gradient
            weights, accumulator = self.row(key)
            accumulator += total * total
            weights -= np.float32(rate) * total / np.sqrt(accumulator + np.float32(1e-7))


KEYS = st.one_of(st.integers(-6, 6), st.integers(-(2**63), 2**63 - 1))
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["lookup", "peek", "apply", "move"]), st.lists(KEYS, max_size=12)), max_size=12
)


@pytest.mark.parametrize("use", [kernels, kernels_numpy], ids=["numba", "numpy"])
@given(ACTIONS)
@settings(max_examples=50, deadline=None)
def test_a_table_does_what_a_dictionary_of_rows_would(use, actions):
    table, model = new_table(use=use), DictTable(3)
    rng = np.random.default_rng(len(actions))
    for step, (action, ids) in enumerate(actions, 1):
        keys = np.array(ids, np.int64)
        if action == "lookup":
            expected = [model.row(key)[0][0] for key in ids]
            np.testing.assert_array_equal(table.lookup(keys), np.reshape(expected, (-1, 3)))
        elif action == "peek":
            known = set(model.rows)
            expected = [model.row(key)[0][0] for key in ids]
            np.testing.assert_array_equal(table.lookup(keys, create=False), np.reshape(expected, (-1, 3)))
            model.rows = {key: row for key, row in model.rows.items() if key in known}
        elif action == "apply":
            gradients = rng.normal(size=(len(ids), 3)).astype(np.float32)
            table.apply(keys, gradients, 0.5, step)
            model.apply(ids, gradients, 0.5, step)
        else:
            moved = new_table(use=use)
            for block in table.export():
                moved.restore(block)
            table = moved
        assert len(table) == len(model.rows)
    assert content(table.export()) == {
        key: (weights.tobytes(), slot.tobytes()) for key, (weights, slot) in model.rows.items()
    }


def test_two_lookups_of_a_new_id_agree_and_so_do_two_servers():
    ids = np.array([5, -7, 5, 2**62])
    first, second = new_table(), new_table()
    rows = first.lookup(ids)
    np.testing.assert_array_equal(rows, first.lookup(ids))
    second.lookup(np.arange(100))
    np.testing.assert_array_equal(rows, second.lookup(ids))
    np.testing.assert_array_equal(rows[0], rows[2])


def test_gradients_find_the_rows_of_earlier_lookups():
    table, expected = new_table(), new_table()
    ids = np.array([5, 3, 9])
    for asked in (ids, np.array([3, 5, 9]), np.array([7])):
        table.lookup(asked)
    ids[:] = 3, 9, 5  # what was looked up is remembered as it was then
    for number, pushed in enumerate(([5, 3, 9], [3, 9, 5], [3, 5, 9], [7, 7], [5, 3, 9], [7])):
        gradients = np.arange(3 * len(pushed), dtype=np.float32).reshape(-1, 3) + number
        for one in (table, expected):
            one.apply(np.array(pushed), gradients, 0.5, number + 1)
    assert content(table.export()) == content(expected.export())
    received = np.zeros(1000, np.int64)[:3]
    received.flags.writeable = False
    table.lookup(received)
    assert table._looked_up[-1][0].base is None, "the rest of a message is not kept"
    for _ in range(100):
        table.lookup(np.arange(1 << 16))
    assert len(table._looked_up) == 16, "they take little memory"


def test_slots_start_at_the_optimizers_own_value():
    table = new_table()
    table.lookup(np.arange(10))
    (block,) = table.export()
    assert (block.slots[0] == np.float32(0.1)).all()


def test_gradients_of_an_id_are_summed_before_the_update():
    one, two = new_table(name="Adam"), new_table(name="Adam")
    gradients = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.float32)
    one.apply(np.array([8, 1, 8]), gradients, 0.1, 1)
    two.apply(np.array([1, 8]), np.array([[4, 5, 6], [8, 10, 12]], np.float32), 0.1, 1)
    assert content(one.export()) == content(two.export())


@given(st.lists(st.lists(st.integers(0, 3000), max_size=200), min_size=2, max_size=6))
@settings(max_examples=20, deadline=None)
def test_an_export_shows_the_moment_it_was_asked_for(batches):
    table = EmbeddingTable(TableSpec("t", 256), rule("Adam"))
    table.lookup(np.arange(0, 3000, 2))
    expected = content(table.export())
    export = table.export()
    seen = [next(export)]
    for step, batch in enumerate(batches, 1):
        ids = np.array(batch, np.int64)
        table.apply(ids, np.ones((ids.size, 256), np.float32), 0.1, step)
        table.lookup(ids + 10_000)
        seen.extend(block for block in [next(export, None)] if block)
    seen.extend(export)
    assert content(seen) == expected


def test_a_forgotten_export_costs_nothing_afterwards():
    table = new_table()
    table.lookup(np.arange(10))
    table.export()
    assert not table._frozen


def test_rejected_gradients_change_nothing():
    table = new_table()
    table.lookup(np.arange(3))
    before = content(table.export())
    for ids, gradients in (
        (np.arange(3), np.ones((3, 4), np.float32)),
        (np.arange(3), np.ones((2, 3), np.float32)),
        (np.array([0.5]), np.ones((1, 3), np.float32)),
    ):
        with pytest.raises(DataError, match="embedding t: "):
            table.apply(ids, gradients, 0.1, 1)
    with pytest.raises(DataError, match="with 1 slots are needed"):
        table.restore(RowBlock(np.arange(3), np.ones((3, 3), np.float32), ()))
    assert content(table.export()) == before


def test_empty_batches_are_fine():
    table = new_table()
    none = np.array([], np.int64)
    assert table.lookup(none).shape == (0, 3)
    table.apply(none, np.empty((0, 3), np.float32), 0.1, 1)
    assert len(table) == 0


def test_rows_of_no_values_are_refused():
    with pytest.raises(DataError, match="rows of 0 values"):
        new_table(dim=0)


MEMORY = """
import numpy as np
from elasticdl_nb.runtime.ps.process import StoreService
from elasticdl_nb.runtime.parameters.api import Push
from elasticdl_nb.runtime.parameters.table import TableSpec
config = dict(learning_rate=0.1, beta_1=0.9, beta_2=0.999, epsilon=1e-7, amsgrad=False)
store = StoreService().initialize(dict(class_name="Adam", config=config), {}, [TableSpec("t", 16)])
def memory(what):
    return 1024 * int(next(line for line in open("/proc/self/status") if line.startswith(what)).split()[1])
start = memory("VmRSS")
gradients = np.ones((50_000, 16), np.float32)
for step in range(1, 102):
    ids = (np.arange(50_000) + step * 50_000) * -977
    store.push(Push(rows={"t": (ids, gradients)}))
print(len(store.tables["t"]), start, memory("VmHWM"), store.nbytes)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_five_million_rows_with_adam_take_little_more_than_their_bytes():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    rows, start, peak, counted = map(int, done.stdout.split())
    assert rows >= 5_000_000
    needed = rows * 16 * 4 * 3
    print(f"peak {peak / needed:.3f}, {start >> 20} MiB of it at the start; counted {counted / needed:.3f}")
    assert peak < 1.3 * needed
