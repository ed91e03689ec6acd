"""Tables that hold the values of their rows as bfloat16."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import keras
import ml_dtypes
import numpy as np
import pytest

from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.api import Push
from elasticdl_nb.runtime.parameters.bounded import BoundedTable, new_table
from elasticdl_nb.runtime.parameters.checkpoints.chain import checkpoint_files, read
from elasticdl_nb.runtime.parameters.checkpoints.converting import Conversion, Declared
from elasticdl_nb.runtime.parameters.checkpoints.deltas import Chains, Deltas
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import Frame, save
from elasticdl_nb.runtime.parameters.mapped.form import (
    Described,
    read_description,
    stem,
    stored_as,
    write_description,
)
from elasticdl_nb.runtime.parameters.mapped.reading import MappedTables
from elasticdl_nb.runtime.parameters.optimizers import updates
from elasticdl_nb.runtime.parameters.optimizers.generic import generic_optimizer
from elasticdl_nb.runtime.parameters.optimizers.rules import CompiledRule, Rule, optimizer_from_config
from elasticdl_nb.runtime.parameters.partition import owners
from elasticdl_nb.runtime.parameters.rows import halves, kernels, kernels_numpy
from elasticdl_nb.runtime.parameters.store import ParameterStore
from elasticdl_nb.runtime.parameters.table import EmbeddingTable, RowBlock, TableSpec
from elasticdl_nb.runtime.spec.bounds import Bounds
from elasticdl_nb.runtime.storage import checkpoints

ADAM = {"learning_rate": 0.01, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "amsgrad": False}
CONFIGS: dict[str, dict[str, Any]] = {
    "SGD": {"learning_rate": 0.1, "momentum": 0.0, "nesterov": False},
    "momentum": {"learning_rate": 0.1, "momentum": 0.9, "nesterov": False},
    "nesterov": {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True},
    "Adam": ADAM,
    "amsgrad": {**ADAM, "amsgrad": True},
    "AdamW": {**ADAM, "weight_decay": 0.01},
    "Adamax": ADAM,
    "Nadam": ADAM,
    "Adagrad": {"learning_rate": 0.1, "initial_accumulator_value": 0.1, "epsilon": 1e-7},
    "RMSprop": {"learning_rate": 0.1, "rho": 0.9, "momentum": 0.0, "epsilon": 1e-7, "centered": False},
    "centered": {"learning_rate": 0.1, "rho": 0.9, "momentum": 0.5, "epsilon": 1e-2, "centered": True},
    "Adadelta": {"learning_rate": 1.0, "rho": 0.95, "epsilon": 1e-7},
    "Lion": {"learning_rate": 0.01, "beta_1": 0.9, "beta_2": 0.99},
    "Ftrl": {
        "learning_rate": 0.1, "learning_rate_power": -0.5, "initial_accumulator_value": 0.1, "beta": 0.0,
        "l1_regularization_strength": 0.01, "l2_regularization_strength": 0.01,
        "l2_shrinkage_regularization_strength": 0.0,
    },
}  # fmt: skip
NAMES = {"momentum": "SGD", "nesterov": "SGD", "amsgrad": "Adam", "centered": "RMSprop"}
MASK = (1 << 64) - 1


@cache
def rule_of(name: str) -> CompiledRule:
    rule = optimizer_from_config({"class_name": NAMES.get(name, name), "config": CONFIGS[name]}).rule
    assert isinstance(rule, CompiledRule)
    return rule


def spec(dim: int = 4, **others: Any) -> TableSpec:
    return TableSpec("t", dim, row_dtype="bfloat16", **others)


class WithNumPy:
    """A rule whose arithmetic is NumPy's."""

    in_parts, size = True, None

    def __init__(self, rule: CompiledRule) -> None:
        self._rule, self.slots = rule, rule.slots

    def apply(self, weights, slots, rows, gradients, rate, step, sizes=None, *, apart=False) -> None:
        if self._rule.weight_decay is not None:
            updates.DECAY.apply_plain(weights, (), rows, gradients, (self._rule.weight_decay, rate), apart=apart)
        constants = self._rule.constants(rate, step)
        self._rule.update.apply_plain(weights, slots, rows, gradients, constants, apart=apart)


def steps(dim: int, count: int = 4, seed: int = 0):
    random = np.random.default_rng(seed)
    for _ in range(count):
        ids = random.permutation(200)[:90].astype(np.int64) * 977_777_777_777 - 10**13
        yield ids, random.normal(size=(90, dim)).astype(np.float32)


def mixed(value: int) -> int:
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53, 1):
        value = (value ^ value >> 33) * factor & MASK
    return value


def rounded_by_chance(value: float, key: int, step: int, row: int, place: int) -> float:
    """What `halves` says, one value at a time."""
    random = mixed(row + mixed(key + step * 0x9E3779B97F4A7C15 & MASK) & MASK) + place * 0x9E3779B9
    random = ((random & 0xFFFFFFFF) ^ (random & 0xFFFFFFFF) >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    random = (random ^ random >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    half = int(np.float32(value).view(np.uint32)) + (random >> 16) >> 16
    return float(np.uint32(half << 16).view(np.float32))


@pytest.mark.parametrize("dim", [1, 8, 17, 128])
@pytest.mark.parametrize("name", CONFIGS)
def test_updates_are_those_of_float32_rounded_by_chance_bit_for_bit(name: str, dim: int) -> None:
    rule = rule_of(name)
    table = EmbeddingTable(spec(dim), rule)
    plain = EmbeddingTable(spec(dim), WithNumPy(rule), kernels_numpy)
    weights: dict[int, np.ndarray] = {}
    slots: dict[int, list[np.ndarray]] = {}
    for step, (ids, gradients) in enumerate(steps(dim), 1):
        for each in (table, plain):
            each.lookup(ids)
        before = table.lookup(ids)
        for place, one in enumerate(ids.tolist()):
            weights.setdefault(one, before[place])
            slots.setdefault(one, [np.full(dim, slot.initial, np.float32) for slot in rule.slots])
        wide = np.array([weights[one] for one in ids.tolist()])
        kept = [np.array([slots[one][n] for one in ids.tolist()]) for n in range(len(rule.slots))]
        WithNumPy(rule).apply(wide, kept, np.arange(90, dtype=np.int32), gradients, np.float32(0.05), step)
        for each in (table, plain):
            each.apply(ids, gradients, 0.05, step)
        for place, one in enumerate(ids.tolist()):
            weights[one] = np.array(
                [rounded_by_chance(value, table._initial.key, step, one, j) for j, value in enumerate(wide[place])],
                np.float32,
            )
            slots[one] = [slot[place] for slot in kept]
    every = np.array([*weights])
    expected = np.array([*weights.values()])
    for each in (table, plain):
        np.testing.assert_array_equal(each.lookup(every), expected)
        for block in each.export():
            for number, slot in enumerate(block.slots):
                np.testing.assert_array_equal(slot, np.array([slots[one][number] for one in block.ids.tolist()]))
    assert np.isfinite(expected).all()


def test_what_is_lost_by_rounding_to_the_nearest_is_kept_on_average() -> None:
    table = EmbeddingTable(spec(64, initializer="ones"), rule_of("SGD"))
    ids = np.arange(2000)
    table.lookup(ids)
    for step in range(1, 101):  # each a 2000th of a value, which the nearest bfloat16 does not show
        table.apply(ids, np.full((2000, 64), -1 / 2000, np.float32), 1.0, step)
    values = table.lookup(ids).astype(np.float64)
    # Each step's error is at most an ulp, 2^-7, and independent: the mean of 128,000 values is within 5 deviations.
    assert abs(values.mean() - 1.05) < 5 * 2**-7 / 2 * 10 / np.sqrt(values.size)
    assert abs(values.mean(axis=0) - 1.05).max() < 6 * 2**-7 / 2 * 10 / np.sqrt(2000)
    assert values.std() < 0.08


def test_random_bits_are_spread_evenly_and_differ_by_table_step_id_and_place() -> None:
    ids = np.arange(20_000)
    found = []
    for key, step in ((1, 1), (1, 2), (2, 1)):
        values = np.full((20_000, 8), 1 + 2**-9, np.float32)  # a quarter of the way to the next
        out = np.zeros((20_000, 8), np.uint16)
        kernels_numpy.narrow(out, np.arange(20_000, dtype=np.int32), values, ids, halves.noise(key, step))
        found.append(halves.floats(out) > 1)
    for up in found:
        np.testing.assert_allclose(up.mean(axis=0), 0.25, atol=0.02)
        together = np.corrcoef(up.T) - np.eye(8)
        assert np.abs(together).max() < 0.04
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(found[one].ravel(), found[other].ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("use", [kernels, kernels_numpy])
def test_special_values(use: Any) -> None:
    values = np.array([[0.0, -0.0, np.inf, -np.inf, np.nan, 1.5, -3e38, 1e-40]], np.float32)
    values[0, 4:5].view(np.uint32)[0] = 0x7F800001  # a NaN that is one by its lowest bit alone
    out, row = np.zeros((1, 8), np.uint16), np.zeros(1, np.int32)
    wide = np.empty((1, 8), np.float32)
    for step in range(200):
        use.narrow(out, row, values, np.array([7]), halves.noise(5, step))
        use.widen(out, row, wide)
        np.testing.assert_array_equal(wide[0, :6], values[0, :6])
        assert np.signbit(wide[0, 1]) and np.isfinite(wide[0, 6:]).all()
    random = np.random.default_rng(1)
    some = np.concatenate([random.normal(size=10_000), [3.4e38, -1e-45, np.inf, np.nan]]).astype(np.float32)
    with np.errstate(over="ignore"):
        expected = some.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(halves.floats(halves.rounded(some)), expected)


def test_parts_threads_servers_and_order_make_no_difference() -> None:
    rule, dim = rule_of("Adam"), 5
    whole = EmbeddingTable(spec(dim), rule)
    parts = EmbeddingTable(spec(dim), rule)
    servers = [EmbeddingTable(spec(dim), rule) for _ in range(3)]

    def spread(work: Any, count: int) -> None:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda start: work(start, min(start + 7, count)), range(0, count, 7)))

    parts.lookup(np.arange(50) * -3)
    for step, (ids, gradients) in enumerate(steps(dim), 1):
        whole.apply(ids, gradients, 0.01, step)
        parts.apply_at(parts.locate(ids[::-1]), np.ascontiguousarray(gradients[::-1]), 0.01, step, spread)
        for number, server in enumerate(servers):
            mine = owners(ids, 3) == number
            server.apply(ids[mine], gradients[mine], 0.01, step)
    ids = whole.ids()
    np.testing.assert_array_equal(parts.lookup(ids), whole.lookup(ids))
    for number, server in enumerate(servers):
        mine = ids[owners(ids, 3) == number]
        np.testing.assert_array_equal(server.lookup(mine), whole.lookup(mine))


@pytest.mark.parametrize("bounds", [None, Bounds(min_count=2)])
def test_initial_values_are_the_same_with_and_without_a_row(bounds: Bounds | None) -> None:
    table = new_table(spec(8, bounds=bounds), rule_of("SGD"))
    ids = np.arange(100)
    before = table.lookup(ids, create=False)
    exact = np.empty_like(before)
    TableSpec("t", 8).initial()(ids, exact)
    np.testing.assert_array_equal(before, halves.floats(halves.rounded(exact)))
    table.lookup(ids)
    table.apply(ids, np.zeros((100, 8), np.float32), 0.1, 1, counts=np.full(100, 2, np.int32))
    assert len(table) == 100
    np.testing.assert_array_equal(table.lookup(ids), before)


def test_rows_take_half_the_memory() -> None:
    for rule, wide, narrow in ((rule_of("SGD"), 64, 32), (rule_of("Adam"), 192, 160)):
        sizes = []
        for one in (TableSpec("t", 16), spec(16)):
            table = EmbeddingTable(one, rule)
            index = table.nbytes
            table.lookup(np.arange(600))
            sizes.append((table.nbytes - index - 8 * 600, table.row_bytes))
        assert sizes == [(600 * wide, wide + 8), (600 * narrow, narrow + 8)]


def test_a_rule_without_a_kernel() -> None:
    optimizer = generic_optimizer(lambda: keras.optimizers.Lamb(0.01))
    rule: Rule = optimizer.rule
    half, full = EmbeddingTable(spec(6), rule), EmbeddingTable(TableSpec("t", 6), rule)
    ids = np.arange(30)
    full.restore(RowBlock(ids, half.lookup(ids), tuple(np.zeros((30, 6), np.float32) for _ in rule.slots)))
    gradients = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)
    for table in (half, full):
        table.apply(ids, gradients, 0.01, 1)
    expected = [
        [rounded_by_chance(value, half._initial.key, 1, one, place) for place, value in enumerate(row)]
        for one, row in enumerate(full.lookup(ids))
    ]
    np.testing.assert_array_equal(half.lookup(ids), np.array(expected, np.float32))


# ------------------------------------------------------------ stores and checkpoints

BOUNDED = TableSpec("b", 3, bounds=Bounds(min_count=2, max_rows=80), row_dtype="bfloat16")


def new_store(server: int = 0, servers: int = 1) -> ParameterStore:
    optimizer = optimizer_from_config({"class_name": "Adam", "config": ADAM})
    store = ParameterStore(optimizer, server=server, servers=servers)
    for one in (spec(3), BOUNDED):
        store.add_table(one)
    return store


def pushes(count: int, server: int = 0, servers: int = 1):
    random = np.random.default_rng(5)
    for number in range(count):
        ids = random.zipf(1.3, 60) % 300
        gradients = random.normal(size=(60, 3)).astype(np.float32)
        mine = owners(ids, servers) == server
        counts = np.ones(int(mine.sum()), np.int32)
        pair = (ids[mine], gradients[mine])
        yield Push({}, {"t": pair, "b": pair}, number, learning_rate=0.01, counts={"b": counts})


def content(*stores: ParameterStore) -> dict[Any, Any]:
    return {
        (name, one): (block.weights[i].tobytes(), *(slot[i].tobytes() for slot in block.slots))
        for store in stores
        for name, table in store.tables.items()
        for block in table.export()
        for i, one in enumerate(block.ids.tolist())
    }


@pytest.mark.parametrize("deltas", [False, True])
@pytest.mark.parametrize("killed_at", [1, 13, 29])
def test_a_training_that_was_killed_ends_bit_for_bit_as_one_that_was_not(
    tmp_path: Path, killed_at: int, deltas: bool
) -> None:
    undisturbed = new_store()
    for push in pushes(30):
        undisturbed.push(push)
    store, chains = new_store(), Chains(Deltas(4, 1) if deltas else Deltas())
    for number, push in enumerate(pushes(killed_at)):
        if number in (killed_at // 2, killed_at - 1):
            folder = checkpoints.begin(tmp_path, store.version, "j")
            captured = chains.capture(store, folder)
            save(captured.path, captured.frames)
            captured.written()
            checkpoints.seal(folder, store.version, "j")
            latest, saved_at = Path(checkpoints.commit(folder, {}, "j")), number
        store.push(push)
    for servers in (1, 2):
        resumed = [new_store(number, servers) for number in range(servers)]
        for number, one in enumerate(resumed):
            one.tables.clear()
            one.restore([read(files) for files in checkpoint_files(latest)])
            for push in [*pushes(30, number, servers)][saved_at:]:
                one.push(push)
        if servers == 1:
            assert content(*resumed) == content(undisturbed)
            assert resumed[0].held()._replace(bytes=0) == undisturbed.held()._replace(bytes=0)
        else:  # each server has its own share of max_rows
            found, expected = content(*resumed), content(undisturbed)
            assert {k: v for k, v in found.items() if k[0] == "t"} == {k: v for k, v in expected.items() if k[0] == "t"}


def frames_of(store: ParameterStore) -> list[Frame]:
    return [Frame(dict(frame.meta), [array.copy() for array in frame.arrays]) for frame in store.snapshot()]


@pytest.mark.parametrize(("there", "here"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_rows_of_another_type_are_read_with_one_rounding_or_none(there: str, here: str) -> None:
    optimizer = optimizer_from_config({"class_name": "Adam", "config": ADAM})
    before = ParameterStore(optimizer)
    before.add_table(TableSpec("t", 3, row_dtype=there))
    for push in pushes(10):
        before.push(Push({}, {"t": push.rows["t"]}, learning_rate=0.01))
    ids = before.tables["t"].ids()
    expected = before.lookup("t", ids)
    if here == "bfloat16":
        expected = expected.astype(ml_dtypes.bfloat16).astype(np.float32)
    after = ParameterStore(optimizer)
    declared = Declared([TableSpec("t", 3, row_dtype=here)])
    after.restore(Conversion(declared, [0.0, 0.0]).files([frames_of(before)]))
    assert after.tables["t"].spec.row_dtype == here
    np.testing.assert_array_equal(after.lookup("t", ids), expected)
    for mine, other in zip(after.tables["t"].export(), before.tables["t"].export(), strict=True):
        np.testing.assert_array_equal(mine.slots, other.slots)


def test_rows_become_a_matrix_and_a_matrix_rows() -> None:
    optimizer = optimizer_from_config({"class_name": "SGD", "config": CONFIGS["SGD"]})
    store = ParameterStore(optimizer)
    store.add_table(spec(2))
    rows = store.lookup("t", np.arange(5))
    matrix = ParameterStore(optimizer)
    key = "t/embeddings@0:10/10"
    declared = Declared((), {key: np.zeros(10, np.float32)})
    matrix.restore(Conversion(declared, []).files([frames_of(store)]))
    np.testing.assert_array_equal(matrix.pull()[key].reshape(5, 2), rows)
    again = ParameterStore(optimizer)
    again.restore(Conversion(Declared([spec(2)]), []).files([frames_of(matrix)]))
    np.testing.assert_array_equal(again.lookup("t", np.arange(5)), rows)


def test_another_type_of_the_same_table_is_refused() -> None:
    store = new_store()
    with pytest.raises(DataError, match="embedding t has rows of bfloat16, not of float32"):
        store.add_table(TableSpec("t", 3))


def test_a_specification_says_what_earlier_versions_do_not_know_only_where_it_must() -> None:
    assert "row_dtype" not in TableSpec("t", 3).to_json()
    for one in (TableSpec("t", 3), spec(3), BOUNDED):
        assert TableSpec.from_json(one.to_json()) == one


# ------------------------------------------------------------ trained models


@pytest.mark.parametrize(("asked", "stored"), [("float32", "bfloat16"), ("bfloat16", "bfloat16"), ("int8", "int8")])
def test_files_of_a_trained_model_lose_nothing(tmp_path: Path, asked: str, stored: str) -> None:
    store = new_store()
    for push in pushes(12):
        store.push(push)
    folder = tmp_path / "tables"
    folder.mkdir()
    described = []
    for number, (name, table) in enumerate(store.tables.items()):
        dtype = stored_as(table.spec, asked)
        assert dtype == stored
        parts = [part for part in store.write(name, folder / stem(number), dtype) if part is not None]
        described.append(Described(table.spec, dtype, tuple(parts)))
    tables = MappedTables(folder, write_description(folder, described))
    assert [one.dtype for one in read_description(folder)] == [stored] * 2
    ids = np.arange(400)  # of which some have no row
    for name in store.tables:
        expected = store.lookup(name, ids, create=False)
        if stored == "int8":
            np.testing.assert_allclose(tables.lookup(name, ids), expected, atol=np.abs(expected).max() / 100)
        else:
            np.testing.assert_array_equal(tables.lookup(name, ids), expected)
    exported = dict(zip(*(np.concatenate(part) for part in zip(*store_export(store), strict=True)), strict=True))
    assert all(row.dtype == np.float32 for row in exported.values())


def store_export(store: ParameterStore):
    for block in store.export("t"):
        yield block.ids, block.weights


def test_bounded_tables_round_as_others_do() -> None:
    """An id that always has a row ends with the same values in both kinds of tables."""
    rule = rule_of("Adagrad")
    plain, bounded = EmbeddingTable(spec(4), rule), new_table(spec(4, bounds=Bounds(max_rows=10_000)), rule)
    assert isinstance(bounded, BoundedTable)
    for step, (ids, gradients) in enumerate(steps(4), 1):
        for table in (plain, bounded):
            table.lookup(ids)
            table.apply(ids, gradients, 0.1, step)
    np.testing.assert_array_equal(bounded.lookup(plain.ids()), plain.lookup(plain.ids()))
