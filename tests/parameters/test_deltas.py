"""Checkpoints that hold what has changed: whatever is killed, damaged or removed, what is loaded is what was saved."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdl_nb.runtime.errors import DamagedCheckpoint
from elasticdl_nb.runtime.parameters import table
from elasticdl_nb.runtime.parameters.api import Push, StepRequest
from elasticdl_nb.runtime.parameters.checkpoints.chain import checkpoint_files, inherited, names, read
from elasticdl_nb.runtime.parameters.checkpoints.converting import Conversion, Declared
from elasticdl_nb.runtime.parameters.checkpoints.deltas import Chains, Deltas
from elasticdl_nb.runtime.parameters.checkpoints.local import checkpoint_version, read_checkpoint
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import Frame, save
from elasticdl_nb.runtime.parameters.effects import TaskPart
from elasticdl_nb.runtime.parameters.optimizers.rules import optimizer_from_config
from elasticdl_nb.runtime.parameters.partition import Slice, owners, slices_of
from elasticdl_nb.runtime.parameters.store import ParameterStore
from elasticdl_nb.runtime.parameters.table import TableSpec
from elasticdl_nb.runtime.ps.inprocess import InProcessServers
from elasticdl_nb.runtime.spec.bounds import Bounds
from elasticdl_nb.runtime.storage import checkpoints

sys.path.append(os.fspath(Path(__file__).parents[1] / "storage"))

from crashes import kills, power_losses

ADAGRAD = {"learning_rate": 0.1, "initial_accumulator_value": 0.1, "epsilon": 1e-7}
SPECS = [TableSpec("bounded", 2, bounds=Bounds(min_count=2, ttl_steps=9, max_rows=90)), TableSpec("plain", 3)]
LATER = TableSpec("later", 1)
MOST = 3
COUNTED = 15


@pytest.fixture(scope="module", autouse=True)
def few_ids_are_counted() -> Iterator[None]:
    """So that counters are forgotten between two checkpoints, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bounds, "counted", lambda self, servers: -(-COUNTED // servers))
        yield


class Server:
    """One server: its store, and what it has written."""

    def __init__(self, place: int, of: int, most: int = MOST) -> None:
        optimizer = optimizer_from_config({"class_name": "Adagrad", "config": ADAGRAD})
        self.place, self.of = place, of
        self.keys = [piece.key for name in "uvw" for owner, piece in slices_of(name, 2, of) if owner == place]
        self.store = ParameterStore(optimizer, server=place, servers=of)
        self.work: list[Callable[[], None]] = []
        self.chains = Chains(Deltas(most), place, of, self.work.append)

    def declare(self) -> None:
        self.store.initialize({key: np.ones(2, np.float32) for key in self.keys})
        for spec in SPECS:
            self.store.add_table(spec)

    def push(self, number: int, ids: list[int]) -> None:
        every = np.array(ids, np.int64)
        every = every[owners(every, self.of) == self.place]
        rng = np.random.default_rng(number)
        rows = {spec.name: (every, rng.normal(size=(every.size, spec.dim)).astype(np.float32)) for spec in SPECS}
        if LATER.name in self.store.tables:
            rows[LATER.name] = (every, np.ones((every.size, 1), np.float32))
        dense = {key: np.full(2, number, np.float32) for key in self.keys}
        counts = {name: np.ones(every.size, np.int32) for name in rows}
        part = TaskPart(0, number, 0, 1)
        assert self.store.push(Push(dense, rows, number, learning_rate=0.1, part=part, counts=counts)).accepted


def content(*stores: ParameterStore) -> dict[str, object]:
    """Everything that stores hold, in a form that does not depend on their number or on the order of rows."""
    found: dict[str, object] = {"versions": {store.version for store in stores}}
    for store in stores:
        effects = [store.effects.position(0, index) for index in range(40)]
        found[f"effects {store.server} of {store.servers}"] = effects
        for key, value in store.pull().items():
            slots = store._dense[key].slots
            found[f"dense {key}"] = (value.tobytes(), slots and slots[0].tobytes())
        for name, held_here in store.tables.items():
            for block in held_here.export():
                for i, one in enumerate(block.ids.tolist()):
                    assert f"{name} {one}" not in found
                    use = None if block.uses is None else int(block.uses[i])
                    found[f"{name} {one}"] = (block.weights[i].tobytes(), block.slots[0][i].tobytes(), use)
        for counted in store.tables["bounded"].counters():
            for one, count in zip(counted.ids.tolist(), counted.counts.tolist(), strict=True):
                assert f"count {one} {counted.late}" not in found
                found[f"count {one} {counted.late}"] = count
    held = [store.held() for store in stores]
    found["came and went"] = [sum(one.admitted for one in held), sum(one.evicted for one in held)]
    return found


class Job:
    """Servers that make checkpoints of a job, and the contents of those that were completed, by name."""

    def __init__(self, directory: Path, servers: int, most: int = MOST) -> None:
        self.directory, self.saved = directory, {}
        self.number = 0
        self.servers = [Server(place, servers, most) for place in range(servers)]
        for server in self.servers:
            server.declare()
        # Enough rows that a few of them are little.
        self.push(list(range(120)) * 2)

    def push(self, ids: list[int]) -> None:
        for server in self.servers:
            server.push(self.number, ids)
        self.number += 1

    def save(self, *, meanwhile: list[int] = (), fails: str = "", keep: int = 3) -> None:  # type: ignore[assignment]
        folder = checkpoints.begin(self.directory, self.number, "job")
        captured = [server.chains.capture(server.store, folder) for server in self.servers]
        expected = content(*(server.store for server in self.servers)), self.number
        if meanwhile:  # servers go on while they write
            self.push(meanwhile)
        for number, one in enumerate(captured):
            if fails == "writing" and number == len(captured) - 1:
                break
            save(one.path, self.interrupted(one.frames, meanwhile))
            one.written()
        if fails:
            checkpoints.discard(folder)
            return
        checkpoints.seal(folder, expected[1], "job", inherited(folder))
        final = Path(checkpoints.commit(folder, {}, "job"))
        self.saved[final.name] = expected
        checkpoints.prune(final, keep, "job")

    def compact(self) -> None:
        """Do what servers have begun beside their work."""
        for server in self.servers:
            while server.work:
                server.work.pop(0)()

    def interrupted(self, frames: Iterator[Frame], ids: list[int]) -> Iterator[Frame]:
        """Push between some of the frames."""
        for number, frame in enumerate(frames):
            if ids and number in (4, 9, 15):
                self.push([one + number for one in ids])
            yield frame

    def damage(self, rng: np.random.Generator) -> None:
        """Change a byte of a file of the newest checkpoint, cut it off or remove it."""
        newest = checkpoints.completed(self.directory)[-1]
        file = newest / rng.choice(sorted(path.name for path in newest.iterdir()))
        match rng.integers(3):
            case 0:
                with file.open("r+b") as opened:
                    opened.seek(place := int(rng.integers(file.stat().st_size)))
                    (byte,) = opened.read(1)
                    opened.seek(place)
                    opened.write(bytes([byte ^ 0x5A]))
            case 1:
                os.truncate(file, file.stat().st_size - 1)
            case _:
                file.unlink()

    def go_back(self, servers: int) -> bool:
        """Every server dies; so many others go back to the newest checkpoint. Return whether there is one."""
        try:
            path = checkpoints.find(self.directory)
        except DamagedCheckpoint:
            return False
        for damaged in checkpoints.completed(self.directory)[::-1]:
            if damaged == path:
                break
            checkpoints.set_aside(damaged)
        expected, self.number = self.saved[path.name]
        self.servers = [Server(place, servers) for place in range(servers)]
        for server in self.servers:
            server.store.restore(read_checkpoint(path, ["accumulator"], server.place, servers))
            server.chains.continue_from(server.store, path)
        same(content(*(server.store for server in self.servers)), expected, servers)
        return True


def same(found: dict[str, object], expected: dict[str, object], servers: int) -> None:
    """With another number of servers, a share of `max_rows` may be too small for what it gets."""
    if f"effects 0 of {servers}" not in expected:  # the progress of tasks is specific to each server
        found, expected = ({k: v for k, v in one.items() if "effects" not in k} for one in (found, expected))
    if found != expected:
        lost = set(expected) - set(found)
        assert all(name.startswith("bounded ") for name in lost)
        assert found["came and went"][1] == expected["came and went"][1] + len(lost)
        assert {**expected, **found, "came and went": 0} == {**expected, "came and went": 0}
        assert servers > 1


IDS = st.lists(st.one_of(st.integers(0, 130), st.integers(-5, 400)), min_size=1, max_size=6)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["push", "push", "look", "save", "save", "save meanwhile"]), IDS),
        st.tuples(st.sampled_from(["fails writing", "fails later", "damage", "declare"]), st.just([])),
        st.tuples(st.just("compact"), st.just([])),
        st.tuples(st.just("go back"), st.lists(st.integers(1, 3), min_size=1, max_size=1)),
    ),
    min_size=4, max_size=30,
)  # fmt: skip


@given(st.integers(1, 3), ACTIONS, st.integers(0, 4), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_what_is_loaded_is_what_was_saved_whatever_happens(tmp_path_factory, servers, actions, keep, seed):
    """Rows are written in blocks of a few, between which servers go on."""
    before, table.EXPORT_BYTES = table.EXPORT_BYTES, 500
    try:
        _whatever_happens(tmp_path_factory.mktemp("checkpoints"), servers, actions, keep, seed)
    finally:
        table.EXPORT_BYTES = before


def _whatever_happens(
    directory: Path, servers: int, actions: list[tuple[str, list[int]]], keep: int, seed: int
) -> None:
    job, rng = Job(directory, servers), np.random.default_rng(seed)
    job.save(keep=keep)
    for action, values in [*actions, ("save", []), ("go back", [servers])]:
        match action:
            case "push":
                job.push(values)
            case "look":
                for server in job.servers:
                    mine = np.array(values)[owners(np.array(values), server.of) == server.place]
                    server.store.lookup("plain", mine)
                    server.store.lookup("bounded", mine)
            case "compact":
                job.compact()
            case "declare":
                for server in job.servers:
                    server.store.add_table(LATER)
            case "save" | "save meanwhile":
                job.save(meanwhile=values if action != "save" else [], keep=keep)
            case "fails writing" | "fails later":
                job.save(fails=action.removeprefix("fails "), keep=keep)
            case "damage" if checkpoints.completed(directory):
                job.damage(rng)
            case "go back":
                if not job.go_back(values[0]):
                    shutil.rmtree(directory)  # the user begins again
                    directory.mkdir()
                    job = Job(directory, servers)
    own = [path for path in checkpoints.completed(directory) if checkpoints._job_of(path)]  # others are damaged
    assert keep == 0 or len(own) <= keep


def kinds(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir() if file.suffix == ".ps")


@pytest.mark.parametrize(
    ("beside", "expected"), [(None, [1, 2, 3, 4, 1, 2, 3, 4, 1, 2]), (lambda _: None, [1, 2, 3, 4, 5, 6, 7, 1, 2, 3])]
)
def test_a_chain_has_an_end_and_each_of_its_folders_stands_alone(tmp_path, beside, expected):
    """Without anything that compacts it, or while that takes longer than it should."""
    job = Job(tmp_path / "c", 1)
    job.servers[0].chains = Chains(Deltas(MOST), 0, 1, beside)
    lengths = []
    for number in range(10):
        job.save(keep=0)
        lengths.append(len(kinds(checkpoints.completed(tmp_path / "c")[-1])))
        job.push([number, number + 1])
    assert lengths == expected
    assert len(job.servers[0].chains._tries) <= 2, "nothing is kept of files on which nothing can build"
    for path in checkpoints.completed(tmp_path / "c"):
        alone = tmp_path / "elsewhere" / path.name
        shutil.copytree(path, alone)
        assert checkpoints.verify(alone) == checkpoint_version(alone) == job.saved[path.name][1]
    shutil.rmtree(tmp_path / "c")
    job.directory = tmp_path / "elsewhere"
    assert job.go_back(2)


def test_a_chain_is_compacted_meanwhile_so_that_only_the_first_file_is_whole(tmp_path):
    job = Job(tmp_path, 2)
    found = []
    for number in range(12):
        job.save()
        job.compact()
        found.append(kinds(checkpoints.completed(tmp_path)[-1]))
        job.push([number, number + 1, 200 + number, 200 + number])
    assert [len(names) // 2 for names in found] == [1, 2, 3, 4, 2, 3, 4, 2, 3, 4, 2, 3]
    assert [path.name for path in tmp_path.glob(".c*")] == [], "what checkpoints share is in them alone"
    (checkpoints.completed(tmp_path)[-1] / names(1, 2, 3)[0]).write_bytes(b"")
    assert job.go_back(2)
    assert job.number == 10, "the last one of the chain before shares nothing with those after it"


def test_a_chain_that_cannot_be_compacted_ends_with_a_whole_file(tmp_path, caplog):
    job = Job(tmp_path, 1)
    for number in range(MOST):
        job.save(keep=0)
        job.push([number])
    base = checkpoints.completed(tmp_path)[-1] / names(0, 1, MOST)[0]
    base.write_bytes(base.read_bytes()[:-1] + b"?")
    job.save(keep=0)
    job.compact()
    assert "cannot merge the files of a chain of checkpoints" in caplog.text
    assert [path.name for path in tmp_path.glob(".c*")] == []
    job.save()
    assert kinds(checkpoints.completed(tmp_path)[-1]) == names(0, 1, 1)
    assert job.go_back(1)


def test_what_a_job_goes_back_to_is_built_on(tmp_path):
    """In the same process and in another, beginning with the checkpoint of a chain."""
    declaration = ({"class_name": "Adagrad", "config": ADAGRAD}, {}, [SPECS[1]])
    ids = np.arange(2000)

    def step(servers: InProcessServers) -> None:
        push = Push({}, {"plain": (ids, np.ones((ids.size, 3), np.float32))}, learning_rate=0.1)
        servers.step(StepRequest(push))

    def save(servers: InProcessServers, number: int) -> Path:
        folder = checkpoints.begin(tmp_path, number, "job")
        servers.save(folder)
        checkpoints.seal(folder, number, "job", inherited(folder))
        return Path(checkpoints.commit(folder, {}, "job"))

    first = InProcessServers(deltas=Deltas(9))
    first.initialize(*declaration)
    step(first)
    save(first, 1)
    ids = ids[:5]
    step(first)
    path = save(first, 2)
    kept = first.lookup("plain", np.arange(60), create=False)
    ids = np.arange(20, 30)
    step(first)
    for servers in (first, InProcessServers(deltas=Deltas(9))):
        servers.restore(path)
        servers.initialize(*declaration)
        assert np.array_equal(servers.lookup("plain", np.arange(60), create=False), kept)
        ids = ids[:1]
        step(servers)
        path = save(servers, 2 + len(kinds(path)))
        kept = servers.lookup("plain", np.arange(60), create=False)
    assert kinds(path) == sorted(names(0, 1, 4))


def test_a_thread_compacts_while_the_process_goes_on(tmp_path):
    declaration = ({"class_name": "Adagrad", "config": ADAGRAD}, {}, [SPECS[1]])
    servers, ids = InProcessServers(deltas=Deltas(MOST)), np.arange(2000)
    servers.initialize(*declaration)
    for number in range(MOST + 2):
        push = Push({}, {"plain": (ids, np.ones((ids.size, 3), np.float32))}, learning_rate=0.1)
        servers.step(StepRequest(push))
        ids = np.arange(number, number + 5)
        folder = checkpoints.begin(tmp_path, number, "job")
        servers.save(folder)
        for thread in threading.enumerate():
            if thread.name == "compaction":
                thread.join()
        checkpoints.seal(folder, number, "job", inherited(folder))
        path = checkpoints.commit(folder, {}, "job")
    assert kinds(Path(path)) == sorted(names(0, 1, 2))
    kept = servers.lookup("plain", np.arange(2000), create=False)
    servers.restore(path)
    servers.initialize(*declaration)
    assert np.array_equal(servers.lookup("plain", np.arange(2000), create=False), kept)


def test_a_delta_is_small_and_a_large_change_is_written_whole(tmp_path):
    job = Job(tmp_path, 1)
    job.push([*range(130, 3000)])
    job.save()
    job.push([5, 6])
    job.save()
    whole, delta = ((checkpoints.completed(tmp_path)[-1] / name).stat().st_size for name in names(0, 1, 2))
    assert delta < whole / 30
    job.push([*range(2000)])
    job.save()
    assert kinds(checkpoints.completed(tmp_path)[-1]) == names(0, 1, 1)


@pytest.mark.parametrize("deltas", [Deltas(0), Deltas(3, 1 << 20)])
def test_without_deltas_nothing_is_noted_and_files_are_whole(tmp_path, deltas):
    job = Job(tmp_path, 1)
    job.servers[0].chains = Chains(deltas)
    before = job.servers[0].store.nbytes
    for _ in range(3):
        job.save()
        assert kinds(checkpoints.completed(tmp_path)[-1]) == names(0, 1, 1)
    assert job.servers[0].store.nbytes == before


def test_where_files_cannot_have_two_names_they_are_whole(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError("not on this file system")

    monkeypatch.setattr(os, "link", refuse)
    job = Job(tmp_path, 2)
    for number in range(3):
        job.push([number])
        job.save()
        assert kinds(checkpoints.completed(tmp_path)[-1]) == [*names(0, 2, 1), *names(1, 2, 1)]
    assert job.go_back(1)


def test_a_file_of_the_same_name_from_before_is_not_built_on(tmp_path):
    """The job went back beyond a checkpoint, came to the same step again, and then could not complete that one."""
    job = Job(tmp_path, 1)
    job.save()
    old = checkpoints.completed(tmp_path)[-1]
    job.servers[0] = Server(0, 1)
    job.servers[0].declare()
    job.number = 0
    job.push([*range(300)])
    job.save(fails="later")
    assert old.exists() and old.name.endswith(f"{job.number:09d}")
    job.push([1])
    job.save()
    assert kinds(checkpoints.completed(tmp_path)[-1]) == names(0, 1, 1)
    assert job.go_back(1)


def test_a_file_with_which_checkpoints_fail_is_not_built_on_for_ever(tmp_path):
    job = Job(tmp_path, 1)
    job.save()
    written = []
    for _ in range(3):
        folder = checkpoints.begin(tmp_path, job.number, "job")
        written.append(job.servers[0].chains.capture(job.servers[0].store, folder).path.name)
        checkpoints.discard(folder)
    assert written == [names(0, 1, 2)[1], names(0, 1, 2)[1], names(0, 1, 1)[0]]


def test_a_shared_file_keeps_the_checksum_that_it_was_written_with(tmp_path):
    """Otherwise a base that is damaged on the disk would be described as it is, and count as intact."""
    job = Job(tmp_path, 1)
    job.save()
    base = checkpoints.completed(tmp_path)[-1] / names(0, 1, 1)[0]
    content = bytearray(base.read_bytes())
    content[-1] ^= 1
    base.write_bytes(content)
    job.push([1])
    job.save()
    with pytest.raises(DamagedCheckpoint, match=r"base\.ps: damaged \(its checksum does not match\)"):
        checkpoints.verify(checkpoints.completed(tmp_path)[-1])


def test_a_file_whose_checkpoint_is_gone_before_it_is_sealed_is_not_declared_right(tmp_path):
    for servers in (1, 2):
        job = Job(tmp_path / f"{servers}", servers)
        for _ in range(2):
            job.save(keep=1)
            job.push([1, 2])
        folder = checkpoints.begin(job.directory, job.number, "job")
        for server in job.servers:
            captured = server.chains.capture(server.store, folder)
            save(captured.path, captured.frames)
            captured.written()
        shutil.rmtree(checkpoints.completed(job.directory)[-1])
        assert inherited(folder) == {name for server in job.servers for name in names(server.place, servers, 3)[:-1]}
        with pytest.raises(OSError, match="shared with a checkpoint that is damaged or gone"):
            checkpoints.seal(folder, job.number, "job", inherited(folder))
        checkpoints.discard(folder)
        job.save()
        assert not inherited(checkpoints.completed(job.directory)[-1]), "whole again"
        assert job.go_back(servers)


def test_damage_to_a_shared_file_leaves_a_checkpoint_of_the_chain_before(tmp_path):
    job = Job(tmp_path, 1)
    job.servers[0].chains = Chains(Deltas(MOST))
    for number in range(2 * MOST + 1):
        job.save()
        job.push([number])
    newest = checkpoints.completed(tmp_path)[-1]
    assert len(kinds(newest)) == MOST
    (newest / names(0, 1, MOST)[0]).write_bytes(b"")
    assert job.go_back(1)
    assert job.number == MOST + 1, "the last one of the chain before"


def test_files_of_two_chains_are_not_mixed(tmp_path):
    folders = []
    for name in "ab":
        job = Job(tmp_path / name, 1)
        for number in range(3):
            job.save()
            job.push([number])
        folders.append(checkpoints.completed(tmp_path / name)[-1])
    base, first, _ = names(0, 1, 3)
    for name in (base, first):
        mixed = tmp_path / f"mixed-{name}"
        shutil.copytree(folders[0], mixed)
        shutil.copy(folders[1] / name, mixed / name)
        (files,) = checkpoint_files(mixed)
        with pytest.raises(DamagedCheckpoint, match=r"is not the file that the next one builds on"):
            list(read(files))
    shutil.copytree(folders[0], tmp_path / "gap")
    (tmp_path / "gap" / first).unlink()
    with pytest.raises(DamagedCheckpoint, match=r"server-0-of-1\.delta-1\.ps missing"):
        checkpoint_files(tmp_path / "gap")
    shutil.copy(folders[0] / first, tmp_path / "gap" / base)
    os.rename(tmp_path / "gap" / names(0, 1, 3)[2], tmp_path / "gap" / first)
    (files,) = checkpoint_files(tmp_path / "gap")
    with pytest.raises(DamagedCheckpoint, match="builds on a file that is missing"):
        list(read(files))


def test_another_job_begins_with_a_chain(tmp_path):
    """A bounded table becomes a variable there, so ids that left have their initial values."""
    job = Job(tmp_path, 2)
    for number in range(MOST):
        job.save()
        job.push([number, 500 + number, 500 + number])
    path = checkpoints.completed(tmp_path)[-1]
    assert kinds(path)
    key = Slice("bounded/embeddings", 0, 1200, 1200).key
    declared = Declared([SPECS[1]], {key: np.full(1200, 7, np.float32)})
    files = read_checkpoint(path, ["accumulator"], 0, 1, all_files=True)
    other = Server(0, 1)
    other.store.restore(Conversion(declared, [0.1]).files(files))
    expected, _ = job.saved[path.name]
    matrix = other.store.pull()[key].reshape(-1, 2)
    for one in range(600):
        kept = expected.get(f"bounded {one}")
        assert matrix[one].tobytes() == (kept[0] if kept else np.full(2, 7, np.float32).tobytes())


# ------------------------------------------------------------ killed at any instant

SAVED = 5  # of which the last but one is the first that shares a file made of two


def write_chain(root: Path) -> None:
    job = Job(root / "c", 1, most=2)
    for number in range(SAVED):
        job.save(keep=2)
        job.compact()
        job.push([number, number])


def expected_contents() -> dict[int, dict[str, object]]:
    job, found = Job(Path("unused"), 1), {}
    for number in range(SAVED):
        found[job.number] = content(job.servers[0].store)
        job.push([number, number])
    return found


def check_chain(root: Path, expected: dict[int, dict[str, object]], done: bool) -> int:
    """Check that every completed checkpoint loads as it was saved; return how many there are."""
    completed = checkpoints.completed(root / "c") if (root / "c").exists() else []
    for path in completed:
        server = Server(0, 1)
        server.store.restore(read_checkpoint(checkpoints.find(path), ["accumulator"], 0, 1))
        assert content(server.store) == expected[checkpoints.Manifest.read(path).step]
    assert not done or checkpoints.Manifest.read(completed[-1]).step == max(expected)
    return len(completed)


def test_killed_at_any_operation_what_is_complete_is_exact():
    expected, found = expected_contents(), set()
    for _, root in kills(lambda _: None, write_chain):
        found.add(check_chain(root, expected, False))
        checkpoints.discard_unfinished(root / "c")
        assert not (root / "c").exists() or not [*(root / "c").glob(".[sc]*")]
    assert found == {0, 1, 2, 3}


def test_after_a_loss_of_power_what_is_complete_is_exact():
    expected = expected_contents()
    found = {check_chain(root, expected, done) for _, done, root in power_losses(lambda _: None, write_chain)}
    assert found == {0, 1, 2, 3}
