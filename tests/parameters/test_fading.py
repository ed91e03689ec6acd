"""Slots that fade while their rows are not used, against dictionaries that do the same, told plainly."""

from __future__ import annotations

from types import ModuleType

import keras
import numpy as np
import pytest
from test_bfloat16_rows import CONFIGS, WithNumPy, rule_of

from elasticdl_nb.runtime.parameters.api import Push
from elasticdl_nb.runtime.parameters.bounded import BoundedTable
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import Frame
from elasticdl_nb.runtime.parameters.mapped.form import Described, Part, read_description, write_description
from elasticdl_nb.runtime.parameters.optimizers.rules import optimizer_from_config, why_slots_stay
from elasticdl_nb.runtime.parameters.partition import owners
from elasticdl_nb.runtime.parameters.rows import kernels, kernels_numpy
from elasticdl_nb.runtime.parameters.store import ParameterStore
from elasticdl_nb.runtime.parameters.table import EmbeddingTable, TableSpec
from elasticdl_nb.runtime.spec.bounds import Bounds

FADE = ["Adam", "AdamW", "amsgrad", "Adamax", "Nadam", "Adagrad", "RMSprop", "centered", "momentum", "nesterov", "Lion"]
DIM, HALF_LIFE = 3, 7


def spec(row_dtype: str = "float32", **bounds: int) -> TableSpec:
    return TableSpec("t", DIM, bounds=Bounds(slot_half_life=HALF_LIFE, **bounds), row_dtype=row_dtype)


def steps(count: int = 60, seed: int = 0):
    random = np.random.default_rng(seed)
    for step in range(1, count + 1):
        ids = np.unique(random.zipf(1.2, 20) % 300)
        yield step, ids, random.normal(size=(ids.size, DIM)).astype(np.float32)


def held(*tables: EmbeddingTable) -> dict[int, list[bytes]]:
    return {
        key: [array[i].tobytes() for array in (block.weights, *block.slots)]
        for table in tables for block in table.export() for i, key in enumerate(block.ids.tolist())
    }  # fmt: skip


class Told:
    """What a table does whose slots fade, id by id."""

    def __init__(self, rule) -> None:
        self.rule, self.rows, self.last = rule, {}, {}

    def apply(self, table: BoundedTable, ids: np.ndarray, gradients: np.ndarray, step: int) -> None:
        first = table.lookup(ids, create=False)
        for key, weights, gradient in zip(ids.tolist(), first, gradients, strict=True):
            begin = [np.full(DIM, slot.initial, np.float32) for slot in self.rule.slots]
            weights, slots = self.rows.setdefault(key, (weights, begin))
            between = step - self.last.get(key, step - 1) - 1
            if between:
                factor = np.float32(0.5 ** (between / HALF_LIFE))
                slots = [start + (slot - start) * factor for slot, start in zip(slots, begin, strict=True)]
            arrays = [weights[np.newaxis].copy(), *(slot[np.newaxis].copy() for slot in slots)]
            only = np.zeros(1, np.int32)
            WithNumPy(self.rule).apply(arrays[0], arrays[1:], only, gradient[np.newaxis], np.float32(0.05), step)
            self.rows[key], self.last[key] = (arrays[0][0], [one[0] for one in arrays[1:]]), step

    def held(self) -> dict[int, list[bytes]]:
        return {key: [weights.tobytes(), *(slot.tobytes() for slot in slots)]
                for key, (weights, slots) in self.rows.items()}  # fmt: skip


@pytest.mark.parametrize("use", [kernels, kernels_numpy], ids=["numba", "numpy"])
@pytest.mark.parametrize("name", FADE)
def test_slots_fade_towards_what_they_began_with_bit_for_bit(name: str, use: ModuleType) -> None:
    rule = rule_of(name)
    table = BoundedTable(spec(), WithNumPy(rule) if use is kernels_numpy else rule, use=use)  # type: ignore[arg-type]
    told = Told(rule)
    for step, ids, gradients in steps():
        told.apply(table, ids, gradients, step)
        table.apply(ids, gradients, 0.05, step)
    assert max(told.last.values()) - min(told.last.values()) > HALF_LIFE
    assert held(table) == told.held()


@pytest.mark.parametrize("name", ["Adam", "Adagrad", "momentum"])
def test_rows_that_are_used_in_every_step_are_as_without_the_option(name: str) -> None:
    tables = [BoundedTable(spec(), rule_of(name)), EmbeddingTable(TableSpec("t", DIM), rule_of(name))]
    random, ids = np.random.default_rng(0), np.arange(50)
    for step in range(1, 20):
        gradients = random.normal(size=(50, DIM)).astype(np.float32)
        for table in tables:
            table.apply(ids, gradients, 0.1, step)
    assert held(tables[0]) == held(tables[1])


def test_an_id_that_comes_back_after_long_adapts_as_fast_as_a_new_one() -> None:
    change = []
    for bounds in (Bounds(slot_half_life=10), None):
        new = BoundedTable(TableSpec("t", 1, "zeros", bounds=bounds), rule_of("Adagrad"))
        one = np.array([5])
        for step in range(1, 1001):
            new.apply(one, np.ones((1, 1), np.float32), 0.1, step)
        moves = []
        for key in (one, np.array([6])):
            before = new.lookup(key).item()
            new.apply(key, np.ones((1, 1), np.float32), 0.1, 2000 + key.item())
            moves.append(before - new.lookup(key).item())
        change.append(moves[0] / moves[1])
    assert change[0] == pytest.approx(1, rel=1e-4) and change[1] < 0.04


def new_store(server: int = 0, servers: int = 1, row_dtype: str = "float32") -> ParameterStore:
    optimizer = optimizer_from_config({"class_name": "Adam", "config": CONFIGS["Adam"]})
    store = ParameterStore(optimizer, server=server, servers=servers)
    store.add_table(spec(row_dtype))
    return store


def push(store: ParameterStore, ids: np.ndarray, gradients: np.ndarray) -> None:
    mine = owners(ids, store.servers) == store.server
    store.push(Push({}, {"t": (ids[mine], gradients[mine])}, learning_rate=0.05))


def saved(store: ParameterStore) -> list[Frame]:
    return [Frame(dict(frame.meta), [array.copy() for array in frame.arrays]) for frame in store.snapshot()]


@pytest.mark.parametrize("row_dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 3), (3, 2)])
def test_a_checkpoint_in_the_middle_changes_nothing(before: int, after: int, row_dtype: str) -> None:
    whole = new_store(row_dtype=row_dtype)
    first = [new_store(server, before, row_dtype) for server in range(before)]
    every = list(steps())
    for _, ids, gradients in every:
        push(whole, ids, gradients)
    for _, ids, gradients in every[:40]:
        for store in first:
            push(store, ids, gradients)
    files = [saved(store) for store in first]
    for _, ids, gradients in every[:9]:  # which is void
        for store in first:
            push(store, ids, gradients)
    going_on = [new_store(server, after, row_dtype) for server in range(after)]
    for store in going_on:
        store.restore(files)
        for _, ids, gradients in every[40:]:
            push(store, ids, gradients)
    assert held(*(store.tables["t"] for store in going_on)) == held(whole.tables["t"])


def test_a_checkpoint_without_last_uses_begins_as_of_now() -> None:
    earlier = new_store()
    earlier.tables["t"] = EmbeddingTable(TableSpec("t", DIM), earlier.optimizer.rule)
    ids, gradients = np.arange(4), np.ones((4, DIM), np.float32)
    for _ in range(30):
        push(earlier, ids, gradients)
    store = new_store()
    store.restore([saved(earlier)])
    for one in (earlier, store):
        push(one, ids, gradients)
    assert held(store.tables["t"]) == held(earlier.tables["t"])


def test_slots_fade_together_with_limits_of_rows() -> None:
    limited = BoundedTable(spec(max_rows=1000, min_count=1), rule_of("Adam"))
    free = BoundedTable(spec(), rule_of("Adam"))
    for step, ids, gradients in steps():
        for table in (limited, free):
            table.apply(ids, gradients, 0.05, step)
    assert held(limited) == held(free)
    gone = BoundedTable(spec(ttl_steps=3), rule_of("Adagrad"))
    for step in (1, 10):
        gone.apply(np.array([1]), np.ones((1, DIM), np.float32), 0.1, step)
    new = BoundedTable(spec(), rule_of("Adagrad"))
    new.apply(np.array([1]), np.ones((1, DIM), np.float32), 0.1, 10)
    assert held(gone) == held(new), "a row that left begins again"


def test_which_optimizers_let_what_they_keep_fade() -> None:
    def reason(optimizer: keras.optimizers.Optimizer) -> str:
        return why_slots_stay(keras.optimizers.serialize(optimizer))

    optimizers = keras.optimizers
    for good in ("Adam", "AdamW", "Adagrad", "RMSprop", "Lion", "Nadam", "Adamax"):
        assert reason(optimizers.get(good)) == ""
    assert reason(optimizers.SGD(momentum=0.9)) == ""
    assert reason(optimizers.SGD()) == "without momentum, it keeps nothing"
    assert "the weight itself would fade" in reason(optimizers.Ftrl())
    assert "adapt more slowly" in reason(optimizers.Adadelta())
    assert "is not known here" in reason(optimizers.Lamb())


def test_specifications_tell_of_it_only_where_it_is(tmp_path) -> None:
    plain = TableSpec("t", DIM, bounds=Bounds(max_rows=5))
    for one in (plain, spec(), TableSpec("t", DIM)):
        assert TableSpec.from_json(one.to_json()) == one
    assert "slot_half_life" not in plain.to_json()["bounds"]
    for one, form in ((plain, 1), (spec(), 3)):
        write_description(tmp_path, [Described(one, "float32", (Part(0, {}),))])
        assert f'"format": {form}' in (tmp_path / "tables.json").read_text()
        assert read_description(tmp_path)[0].spec == one
