"""Tables in files: what is read is what was written, whatever the dtype and the number of servers, or is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elasticdl_nb.runtime import compiled
from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.mapped import reading
from elasticdl_nb.runtime.parameters.mapped.form import DESCRIPTION, Described, stem, write_description
from elasticdl_nb.runtime.parameters.mapped.reading import MappedTables
from elasticdl_nb.runtime.parameters.mapped.writing import write_part
from elasticdl_nb.runtime.parameters.optimizers.rules import optimizer_from_config
from elasticdl_nb.runtime.parameters.partition import split_ids
from elasticdl_nb.runtime.parameters.store import ParameterStore
from elasticdl_nb.runtime.parameters.table import RowBlock, TableSpec
from elasticdl_nb.runtime.spec.bounds import Bounds

SPEC = TableSpec("users", 8, seed=7)
SGD = optimizer_from_config({"class_name": "SGD", "config": {"learning_rate": 0.1, "momentum": 0.0, "nesterov": False}})


def written(folder: Path, ids: np.ndarray, rows: np.ndarray, servers: int, dtype: str) -> str:
    """Write a table as so many servers do, and return the digest."""
    folder.mkdir()
    parts = []
    for server, places in enumerate(split_ids(ids, servers)):
        store = ParameterStore(SGD, server=server, servers=servers)
        store.add_table(SPEC)
        store.tables["users"].restore(RowBlock(ids[places], rows[places], ()))
        parts += [part for part in store.write("users", folder / stem(0), dtype) if part is not None]
    return write_description(folder, [Described(SPEC, dtype, tuple(parts))])


def some(count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(count)
    ids = np.unique(random.integers(-(2**62), 2**62, count))
    random.shuffle(ids)
    return ids, random.normal(size=(ids.size, SPEC.dim)).astype(np.float32)


@pytest.mark.parametrize("use_numba", [True, False])
def test_rows_are_found_and_others_have_their_initial_values(
    tmp_path: Path, use_numba: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "ENABLED", use_numba and compiled.ENABLED)
    fresh = ParameterStore(SGD)
    fresh.add_table(SPEC)
    for count in (0, 1, 511, 512, 513, 5000):
        ids, rows = some(count)
        for servers in (1, 3):
            for dtype, error in (("float32", 0.0), ("bfloat16", 2**-8), ("int8", 0.5 / 127 * 1.001)):
                folder = tmp_path / f"{count}-{servers}-{dtype}"
                tables = MappedTables(folder, written(folder, ids, rows, servers, dtype))
                tables.verify()
                assert tables.count("users") == ids.size
                absent = np.array([0, 2**63 - 1, -(2**63)])
                got = tables.lookup("users", np.concatenate([ids, absent]))
                largest = np.abs(rows).max(axis=1, keepdims=True) if dtype == "int8" else np.abs(rows)
                assert (np.abs(got[: ids.size] - rows) <= error * largest).all()
                np.testing.assert_array_equal(got[ids.size :], fresh.lookup("users", absent, create=False))
                exported = [*tables.export("users")]
                assert sum(len(one) for one, _ in exported) == ids.size
                for one, values in exported:
                    np.testing.assert_array_equal(values, tables.lookup("users", one))


def test_memory_is_given_back_and_rows_stay_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "RESIDENT", -1 << 40)
    ids, rows = some(20_000)
    tables = MappedTables(tmp_path / "t", written(tmp_path / "t", ids, rows, 2, "float32"))
    for _ in range(2):
        np.testing.assert_array_equal(tables.lookup("users", ids), rows)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    ids, rows = some(2000)
    digest = written(tmp_path / "t", ids, rows, 1, "int8")
    for path in sorted((tmp_path / "t").iterdir()):
        content = path.read_bytes()
        for damaged in (content[:-1], content + b"\0", b""):
            path.write_bytes(damaged)
            with pytest.raises(DataError, match=path.name):
                MappedTables(tmp_path / "t", digest)
        path.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
        with pytest.raises(DataError, match=path.name):
            MappedTables(tmp_path / "t", digest).verify()
        with pytest.raises(DataError, match=path.name):
            list(MappedTables(tmp_path / "t", digest).export("users"))
        path.unlink()
        with pytest.raises(DataError, match=path.name):
            MappedTables(tmp_path / "t", digest)
        path.write_bytes(content)
    description = tmp_path / "t" / DESCRIPTION
    description.write_text(description.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(DataError, match="format 9"):
        MappedTables(tmp_path / "t")


def test_a_table_that_changes_or_cannot_be_written_is_reported(tmp_path: Path) -> None:
    store = ParameterStore(SGD)
    store.add_table(SPEC)
    store.lookup("users", np.arange(10))
    steps = write_part(tmp_path / "absent" / "table", 0, 1, store.tables["users"], "float32")
    with pytest.raises(DataError, match="cannot be written"):
        next(steps)
    steps = store.write("users", tmp_path / "table", "float32")
    assert next(steps) is None
    store.version += 1
    with pytest.raises(DataError, match="while it was written"):
        next(steps)
    with pytest.raises(DataError, match="int8"):
        store.tables["users"].restore(RowBlock(np.arange(1), np.full((1, 8), np.nan, np.float32), ()))
        next(store.write("users", tmp_path / "other", "int8"))


def test_a_table_with_bounds_is_written_without_what_has_left(tmp_path: Path) -> None:
    spec = TableSpec("users", 8, bounds=Bounds(max_rows=5))
    store = ParameterStore(SGD)
    store.add_table(spec)
    for step, some_ids in enumerate((np.arange(4), np.arange(2, 7)), 1):
        store.tables["users"].apply(some_ids, np.ones((some_ids.size, 8), np.float32), 0.1, step)
    parts = [part for part in store.write("users", tmp_path / stem(0), "float32") if part is not None]
    write_description(tmp_path, [Described(spec, "float32", tuple(parts))])
    tables = MappedTables(tmp_path)
    assert tables.table("users").spec == spec
    ((ids, rows),) = tables.export("users")
    assert ids.tolist() == [2, 3, 4, 5, 6]
    np.testing.assert_array_equal(rows, store.lookup("users", ids, create=False))
    absent = np.array([0, 99])
    np.testing.assert_array_equal(tables.lookup("users", absent), store.lookup("users", absent, create=False))
