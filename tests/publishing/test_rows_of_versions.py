"""Versions whose tables have only what has changed are read as those that were written whole, bit for bit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from elasticdl_nb.runtime.errors import DamagedCheckpoint, DataError
from elasticdl_nb.runtime.parameters.api import Push
from elasticdl_nb.runtime.parameters.checkpoints.chain import checkpoint_files
from elasticdl_nb.runtime.parameters.checkpoints.deltas import Chains, Deltas
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import save
from elasticdl_nb.runtime.parameters.mapped.form import Described, stem, stored_as, write_description
from elasticdl_nb.runtime.parameters.mapped.reading import MappedTables
from elasticdl_nb.runtime.parameters.optimizers.rules import optimizer_from_config
from elasticdl_nb.runtime.parameters.partition import owners
from elasticdl_nb.runtime.parameters.store import ParameterStore
from elasticdl_nb.runtime.parameters.table import TableSpec
from elasticdl_nb.runtime.publishing import tables
from elasticdl_nb.runtime.publishing.tables import Before, TablesWriter
from elasticdl_nb.runtime.publishing.weights import DenseWeights
from elasticdl_nb.runtime.spec.bounds import Bounds
from elasticdl_nb.runtime.storage import checkpoints, versions
from elasticdl_nb.runtime.storage.versions import VersionRecord

SPECS = [
    TableSpec("plain", 3, seed=1),
    TableSpec("bounded", 2, bounds=Bounds(max_rows=900)),
    TableSpec("halves", 3, row_dtype="bfloat16"),
]
ADAGRAD = {"learning_rate": 0.1, "initial_accumulator_value": 0.1, "epsilon": 1e-7}
RANGE = 3000


class Training:
    """Servers that train, whose checkpoints become versions, each of them also written whole."""

    def __init__(self, folder: Path, servers: int, dtype: str, most: int = 100) -> None:
        self.folder, self.dtype, self.count = folder, dtype, 0
        self.random = np.random.default_rng(servers)
        optimizer = optimizer_from_config({"class_name": "Adagrad", "config": ADAGRAD})
        self.stores = [ParameterStore(optimizer, server=place, servers=servers) for place in range(servers)]
        self.chains = [Chains(Deltas(most, 1), place, servers) for place in range(servers)]
        for store in self.stores:
            for spec in SPECS:
                store.add_table(spec)
        self.before: Path | None = None
        self.digest: str = ""
        self.follows: list[list[str]] = []

    def push(self, ids: np.ndarray) -> None:
        for store in self.stores:
            mine = np.unique(ids[owners(ids, store.servers) == store.server])
            rows = {
                spec.name: (mine, self.random.normal(size=(mine.size, spec.dim)).astype(np.float32)) for spec in SPECS
            }
            counts = {name: np.ones(mine.size, np.int32) for name in rows}
            assert store.push(Push({}, rows, store.version, learning_rate=0.1, counts=counts)).accepted

    def train(self, size: int) -> None:
        self.push(self.random.integers(-RANGE, RANGE, size))

    def save(self) -> Path:
        self.count += 1
        path = checkpoints.begin(self.folder / "checkpoints", self.count, "job")
        for store, chains in zip(self.stores, self.chains, strict=True):
            captured = chains.capture(store, path)
            save(captured.path, captured.frames)
            captured.written()
        checkpoints.seal(path, self.count, "job")
        return Path(checkpoints.commit(path, {}, "job"))

    def publish(self, checkpoint: Path) -> tuple[Path, bool]:
        target = self.folder / f"version-{self.count}"
        before = Before(self.before, self.digest, self.follows) if self.before is not None else None
        writer = TablesWriter(target, checkpoint_files(checkpoint), self.dtype, f"layer-{self.count}", before=before)
        self.digest = writer.write()
        self.before, self.follows = target, writer.follows
        return target, writer.is_delta

    def whole(self) -> MappedTables:
        folder = self.folder / f"whole-{self.count}"
        folder.mkdir()
        parts: dict[str, list[object]] = {spec.name: [] for spec in SPECS}
        for store in self.stores:
            for number, spec in enumerate(SPECS):
                part = [
                    one
                    for one in store.write(spec.name, folder / stem(number), stored_as(spec, self.dtype))
                    if one is not None
                ]
                parts[spec.name] += part
        described = [Described(spec, stored_as(spec, self.dtype), tuple(parts[spec.name])) for spec in SPECS]  # type: ignore[arg-type]
        return MappedTables(folder, write_description(folder, described))


def assert_equal(found: MappedTables, expected: MappedTables) -> None:
    ids = np.arange(-RANGE - 10, RANGE + 10)
    for spec in SPECS:
        np.testing.assert_array_equal(found.lookup(spec.name, ids), expected.lookup(spec.name, ids))
        assert found.count(spec.name) == expected.count(spec.name)
        exported = {
            i: row.tobytes() for some, rows in found.export(spec.name) for i, row in zip(some, rows, strict=True)
        }
        there = {
            i: row.tobytes() for some, rows in expected.export(spec.name) for i, row in zip(some, rows, strict=True)
        }
        assert exported == there and len(exported) == found.count(spec.name)


@pytest.mark.parametrize(("servers", "dtype"), [(1, "float32"), (2, "int8"), (3, "bfloat16")])
def test_a_version_of_changes_is_read_as_a_whole_one(tmp_path: Path, servers: int, dtype: str) -> None:
    training = Training(tmp_path, servers, dtype)
    training.train(4 * RANGE)
    sizes, deltas = [], []
    for size in (0, 5, 5, 40, 3, 200, 1, 2500, 5):
        if size:
            training.train(size)
        folder, is_delta = training.publish(training.save())
        if size == 40:  # two checkpoints for one version
            training.train(7)
            training.save()
            training.train(7)
            folder, is_delta = training.publish(training.save())
        deltas.append(is_delta)
        found = MappedTables(folder, training.digest)
        found.verify()
        assert_equal(found, training.whole())
        sizes.append(sum(file.stat().st_size for file in folder.iterdir() if file.stat().st_nlink == 1))
        layers = max(len(part._sets) - 1 for spec in SPECS for part in found.table(spec.name).parts)
        assert layers <= 6, "layers of about the same size become one"
    assert deltas[0] is False and all(deltas[1:6]), deltas
    assert max(sizes[1:4]) < sizes[0] / 2
    assert not all(deltas[6:]), "so much has changed that all is written anew"


def test_what_is_not_certain_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(tmp_path, 2, "float32", most=2)
    training.train(4 * RANGE)
    assert not training.publish(training.save())[1]
    for number in range(3):  # the chain of checkpoints begins anew
        training.train(5)
        folder, is_delta = training.publish(training.save())
        assert is_delta == (number < 2)
        assert_equal(MappedTables(folder, training.digest), training.whole())
    training.train(5)
    checkpoint = training.save()
    monkeypatch.setattr(os, "link", refused)
    folder, is_delta = training.publish(checkpoint)
    assert not is_delta
    assert_equal(MappedTables(folder, training.digest), training.whole())
    monkeypatch.undo()
    training.train(5)
    assert training.publish(training.save())[1]
    assert training.before is not None
    (training.before / "tables.json").write_text("{}")
    with pytest.raises(DataError, match="damaged"):
        Before(training.before, training.digest, training.follows)


def refused(*arguments: object, **more: object) -> None:
    raise OSError("no hard links here")


def test_damage_is_found(tmp_path: Path) -> None:
    training = Training(tmp_path, 1, "int8")
    training.train(4 * RANGE)
    training.publish(training.save())
    training.train(30)
    folder, is_delta = training.publish(training.save())
    assert is_delta
    for path in sorted(folder.glob("*layer-2*.npy")):
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        with pytest.raises(DataError, match=path.name):
            MappedTables(folder, training.digest)
        if len(content) > 128:  # more than a header
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            with pytest.raises(DataError, match=path.name):
                MappedTables(folder, training.digest).verify()
        path.unlink()
        with pytest.raises(DataError, match=path.name):
            MappedTables(folder, training.digest)
        path.write_bytes(content)
    (rows,) = folder.glob("table-000*layer-2.rows.npy")
    rows.write_bytes(rows.read_bytes()[:-1] + bytes([rows.read_bytes()[-1] ^ 1]))
    training.train(60)
    checkpoint = training.save()
    with pytest.raises(tables.DamagedBefore, match=rows.name):  # it would become part of the new layer
        training.publish(checkpoint)
    newest = checkpoint_files(checkpoint)[0][-1]
    content = newest.read_bytes()
    newest.write_bytes(content[:-30] + bytes([content[-30] ^ 1]) + content[-29:])
    with pytest.raises(DamagedCheckpoint):
        TablesWriter(tmp_path / "t", checkpoint_files(checkpoint), "int8", "layer-3").write()


def test_layers_that_are_as_large_become_one() -> None:
    def merged(sizes: list[int], rows: int) -> int:
        return tables._layers_to_merge(tuple(tables.Layer("layer-1", size, 0, {}) for size in sizes), rows)

    assert [merged([], 5), merged([5], 4), merged([5], 5), merged([9, 5], 5), merged([10, 5], 5)] == [0, 0, 1, 2, 2]
    assert merged([100, 5, 5], 4) == 0 and merged([11, 5], 5) == 1


def test_dense_variables_are_put_together(tmp_path: Path) -> None:
    import safetensors.numpy

    initial = {"a": np.zeros((2, 3), np.float32), "seed": np.array([7, 8], np.uint32), "half": np.zeros(2, np.float16)}
    safetensors.numpy.save_file(initial, tmp_path / "form.safetensors")
    weights = DenseWeights(tmp_path / "form.safetensors")
    weights.add("a@4:6/6", np.array([4, 5], np.float32))
    weights.add("half@0:2/2", np.array([0.5, 2], np.float32))
    with pytest.raises(DataError, match="a is not complete"):
        weights.write(tmp_path / "out.safetensors")
    weights.add("a@0:4/6", np.arange(4, dtype=np.float32))
    weights.write(tmp_path / "out.safetensors")
    found = safetensors.numpy.load_file(tmp_path / "out.safetensors")
    np.testing.assert_array_equal(found["a"], np.arange(6, dtype=np.float32).reshape(2, 3))
    assert found["half"].dtype == np.float16 and found["half"].tolist() == [0.5, 2] and found["seed"].tolist() == [7, 8]
    weights.add("other@0:1/1", np.zeros(1, np.float32))
    with pytest.raises(DataError, match="other is not complete, or not a variable"):
        weights.write(tmp_path / "out.safetensors")


def test_a_chain_that_became_one_file_still_says_what_has_changed(tmp_path: Path) -> None:
    training = Training(tmp_path, 1, "float32", most=3)
    beside: list[Callable[[], None]] = []
    training.chains = [Chains(Deltas(3, 1), 0, 1, beside.append)]
    training.train(4 * RANGE)
    assert not training.publish(training.save())[1]
    lengths = []
    for _ in range(8):
        training.train(5)
        checkpoint = training.save()
        lengths.append(len(checkpoint_files(checkpoint)[0]))
        folder, is_delta = training.publish(checkpoint)
        assert is_delta
        assert_equal(MappedTables(folder, training.digest), training.whole())
        while beside and lengths[-1] > 3:  # the next checkpoint after this one builds on the one file
            beside.pop()()
    assert sorted(lengths) != lengths, "no chain became one file"


def test_only_the_last_file_counts_once_the_job_has_gone_back() -> None:
    record = VersionRecord("job", 5, 10, 0.0, 0.0, follows=[["a", "b", "c"], ["d"]], rollbacks=1)
    assert record.bases(1) == [["a", "b", "c"], ["d"]]
    assert record.bases(2) == [["c"], ["d"]]


def test_a_job_holds_the_version_that_it_uses(tmp_path: Path) -> None:
    for number in (1, 2, 11):
        (tmp_path / "out" / str(number) / "state").mkdir(parents=True)
        (tmp_path / "out" / str(number) / "trained_model.pb").write_text(str(number))
        (tmp_path / "out" / str(number) / "state" / "kept.json").write_text(str(number))
        if number != 2:
            VersionRecord("job", number, 10, 0.0, 0.0).write(tmp_path / "out" / str(number))
    newest = versions.newest(os.fspath(tmp_path / "out"))
    assert newest == os.fspath(tmp_path / "out" / "11")
    held = versions.held(newest, tmp_path / "held")
    assert versions.held(os.fspath(tmp_path / "out" / "2"), tmp_path / "no") == os.fspath(tmp_path / "out" / "2")
    assert versions.next_number(tmp_path / "out") == 12
    VersionRecord("later", 1, 10, 0.0, 0.0).write(tmp_path / "out" / "11")
    versions.prune(tmp_path / "out", 1)
    assert [number for number, _ in versions.numbered(tmp_path / "out")] == [2, 11], "what no job has published stays"
    versions.prune(tmp_path / "out", 0)
    (tmp_path / "out" / "11" / "state" / "kept.json").unlink()
    assert Path(held, "state", "kept.json").read_text() == "11"
    assert versions.newest(held) == held and versions.newest("s3://bucket/out") == "s3://bucket/out"
