"""Content with its final name is complete, however the process or the power fails; until then the old is there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from crashes import kills, power_losses

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.data import files, recordio
from elasticdl_nb.runtime.model.saving.beginning import MESSAGE, checkpoint_of
from elasticdl_nb.runtime.parameters.mapped.form import Described, stem, write_description
from elasticdl_nb.runtime.parameters.mapped.reading import MappedTables
from elasticdl_nb.runtime.parameters.optimizers.rules import optimizer_from_config
from elasticdl_nb.runtime.parameters.store import ParameterStore
from elasticdl_nb.runtime.parameters.table import RowBlock, TableSpec
from elasticdl_nb.runtime.protocol import trained_model_pb2 as pb
from elasticdl_nb.runtime.storage import checkpoints
from elasticdl_nb.runtime.storage.publish import RECORD, Publication, clean

SGD = optimizer_from_config({"class_name": "SGD", "config": {"learning_rate": 0.1, "momentum": 0.0, "nesterov": False}})
OLD, NEW = b"old " * 3000, b"new " * 5000


def fill(path: Path, content: bytes, folder: bool) -> None:
    if folder:
        (path / "sub").mkdir(parents=True)
        (path / "a").write_bytes(content)
        (path / "sub" / "b").write_bytes(content)
    else:  # as our writers do: aside first, and so beside the place where the result is written aside
        durable.write(path, content)


def content_of(path: Path) -> bytes | None:
    """The content that `fill` made; None if it is incomplete or absent."""
    try:
        if not path.is_dir():
            return path.read_bytes()
        first, second = (path / "a").read_bytes(), (path / "sub" / "b").read_bytes()
    except OSError:
        return None
    return first if first == second else None


@pytest.fixture(params=["one rename", "two renames"])
def renames(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "two renames":  # as on systems that cannot exchange two names
        monkeypatch.setattr(durable, "_renameat2", lambda: None)
    return str(request.param)


# Whether something is there before, and whether it and the result are folders.
CASES = [(None, False), (None, True), (False, False), (True, True), (False, True), (True, False)]


def publication(root: Path) -> Publication:
    return Publication(root / "job", str(root / "out" / "result"), overwrite=True)


def prepared(old_is_folder: bool | None) -> Callable[[Path], None]:
    def prepare(root: Path) -> None:
        (root / "job").mkdir()
        (root / "out").mkdir()
        if old_is_folder is not None:
            fill(root / "out" / "result", OLD, old_is_folder)

    return prepare


@pytest.mark.parametrize(("old_is_folder", "is_folder"), CASES)
def test_a_publication_that_is_killed_is_old_or_new_and_called_what_it_is(
    old_is_folder: bool | None, is_folder: bool, renames: str
) -> None:
    count = 0
    for number, root in kills(
        prepared(old_is_folder), lambda root: print(publication(root).publish(lambda at: fill(at, NEW, is_folder)))
    ):
        count += 1
        target, before = root / "out" / "result", None if old_is_folder is None else OLD
        if renames == "one rename":
            assert content_of(target) in (before, NEW), number
        assert publication(root).is_done == (content_of(target) == NEW), number
        assert content_of(target) in (before, NEW), number
        if number % 2:  # another worker takes over
            publication(root).publish(lambda at: fill(at, NEW, is_folder))
            assert content_of(target) == NEW
            assert publication(root).is_done
        clean(root / "job")
        assert [path.name for path in (root / "out").iterdir()] in ([], ["result"]), number
        assert {path.name for path in (root / "job").iterdir() if not path.name.startswith(".")} <= {RECORD}
    assert count > 5


def test_a_result_that_was_there_before_is_not_taken_for_the_job_s_own(tmp_path: Path) -> None:
    prepared(False)(tmp_path)
    other = Publication(tmp_path / "job", str(tmp_path / "out" / "result"), overwrite=False)
    assert not other.is_done
    with pytest.raises(FileExistsError):
        other.publish(lambda at: fill(at, NEW, False))
    assert not other.is_done
    assert content_of(tmp_path / "out" / "result") == OLD
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["result"]


def test_what_fails_while_it_writes_leaves_the_old_one(tmp_path: Path) -> None:
    prepared(True)(tmp_path)

    def fail(at: Path) -> None:
        fill(at, NEW, True)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        publication(tmp_path).publish(fail)
    assert content_of(tmp_path / "out" / "result") == OLD
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["result"]


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("is_folder", [True, False])
def test_an_upload_is_made_once_and_replaces_only_what_it_may(tmp_path: Path, overwrite: bool, is_folder: bool) -> None:
    url = f"memory://{tmp_path.name}-{overwrite}-{is_folder}/result"
    fs, inner = files.file_system(url)
    where = Publication(tmp_path, url, overwrite=overwrite, marker="a")
    assert where.publish(lambda at: fill(at, NEW, is_folder)) == url
    assert where.is_done
    other = tmp_path / "other"
    other.mkdir()
    again = Publication(other, url, overwrite=overwrite, marker="a")
    assert not again.is_done
    if overwrite:
        again.publish(lambda at: fill(at, OLD, is_folder))
        assert again.is_done
        assert not where.is_done
    else:
        with pytest.raises(FileExistsError):
            again.publish(lambda at: fill(at, OLD, is_folder))
    assert fs.cat_file(f"{inner}/a" if is_folder else inner) == (OLD if overwrite else NEW)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_link_keeps_pointing_to_its_place(tmp_path: Path) -> None:
    prepared(True)(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "out" / "result")
    Publication(tmp_path / "job", str(link), overwrite=True).publish(lambda at: fill(at, NEW, True))
    assert link.is_symlink()
    assert content_of(tmp_path / "out" / "result") == NEW


# ------------------------------------------------------------ its users


def commit(root: Path) -> None:
    made = checkpoints.begin(root / "c", 7, "job")
    fill(made / "model.bin", NEW, False)
    checkpoints.seal(made, 7, "job")
    checkpoints.prune(checkpoints.commit(made, {"tasks": 3}, "job"), 1, "job")


def earlier_checkpoints(root: Path) -> None:
    for step in (5, 7):  # one of the same step, from before the job went back
        made = checkpoints.begin(root / "c", step, "job")
        fill(made / "model.bin", OLD, False)
        checkpoints.seal(made, step, "job")
        checkpoints.commit(made, {"tasks": 1}, "job")


def check_checkpoints(root: Path, done: bool) -> None:
    found = checkpoints.find(root / "c")
    content = (found / "model.bin").read_bytes()
    tasks = json.loads((found / checkpoints.QUEUE).read_text())["tasks"]
    assert (content, tasks) in ((OLD, 1), (NEW, 3))
    assert not done or content == NEW
    for path in checkpoints.completed(root / "c"):
        checkpoints.verify(path)


def convert(root: Path) -> None:
    with files.folder_aside(str(root / "data")) as folder:
        recordio.write_file(f"{folder}/a.recordio", [b"new"] * 100)
        recordio.write_file(f"{folder}/b.recordio", [b"new"] * 100)


def converted_before(root: Path) -> None:
    (root / "data").mkdir()
    for name in "ab":
        recordio.write_file(str(root / "data" / f"{name}.recordio"), [b"old"] * 100)


def check_data(root: Path, done: bool) -> None:
    found = {record for name in "ab" for record in recordio.read_file(str(root / "data" / f"{name}.recordio"))}
    assert found in ([{b"new"}] if done else [{b"old"}, {b"new"}])


def export(root: Path) -> None:
    recordio.write_file(str(root / "a.recordio"), [b"new"] * 100)


def exported_before(root: Path) -> None:
    recordio.write_file(str(root / "a.recordio"), [b"old"] * 100)


def check_export(root: Path, done: bool) -> None:
    assert set(recordio.read_file(str(root / "a.recordio"))) in ([{b"new"}] if done else [{b"old"}, {b"new"}])


def publish(root: Path) -> None:
    publication(root).publish(lambda at: fill(at, NEW, True))


def check_publication(root: Path, done: bool) -> None:
    content = content_of(root / "out" / "result")
    assert content in ([NEW] if done else [OLD, NEW])
    assert content == NEW or not publication(root).is_done


def table_files(root: Path, value: float) -> None:
    """Publish a folder with a table's files, of which two servers write a part each."""

    def write(folder: Path) -> None:
        folder.mkdir()
        parts = []
        for server in range(2):
            store, ids = ParameterStore(SGD, server=server, servers=2), np.arange(server, 300, 2)
            store.add_table(TableSpec("rows", 4))
            store.tables["rows"].restore(RowBlock(ids, np.full((ids.size, 4), value, np.float32), ()))
            parts += [part for part in store.write("rows", folder / stem(0), "float32") if part is not None]
        described = Described(TableSpec("rows", 4), "float32", tuple(parts))
        (folder / "digest").write_text(write_description(folder, [described]))

    publication(root).publish(write)


def tables_before(root: Path) -> None:
    prepared(None)(root)
    table_files(root, 1.0)
    (root / "job" / RECORD).unlink()


def check_tables(root: Path, done: bool) -> None:
    folder = root / "out" / "result"
    tables = MappedTables(folder, (folder / "digest").read_text())
    tables.verify()
    (value,) = set(tables.lookup("rows", np.arange(300)).ravel().tolist())
    assert value in ([2.0] if done else [1.0, 2.0])
    assert value == 2.0 or not publication(root).is_done


def begun(root: Path) -> None:
    """Servers have written a checkpoint; it remains to complete it."""
    earlier_checkpoints(root)
    made = root / "c" / ".step-000000009.a"
    made.mkdir()
    fill(made / "model.bin", NEW, False)


def complete(root: Path) -> None:
    """As masters do, one after another: the journal tells the next that it has to be done."""
    made = root / "c" / ".step-000000009.a"
    if made.exists():
        checkpoints.seal(made, 9, "job")
    checkpoints.commit(made, {"tasks": 3}, "job")


def trained_model(root: Path) -> None:
    (root / "model").mkdir()
    (root / "model" / "params").write_bytes(NEW)
    message = pb.TrainedModel(params_filename="params")
    (root / "model" / MESSAGE).write_bytes(message.SerializeToString())


def begin_with_model(root: Path) -> None:
    checkpoint_of(str(root / "model"), root / "trained", "job")


def check_beginning(root: Path, done: bool) -> None:
    if done or (root / "trained").exists():
        assert checkpoints.verify(root / "trained") == 0


USERS = {
    "a checkpoint's completion": (begun, complete, check_checkpoints),
    "a trained model as a checkpoint": (trained_model, begin_with_model, check_beginning),
    "checkpoint": (earlier_checkpoints, commit, check_checkpoints),
    "converted data": (converted_before, convert, check_data),
    "a file of records": (exported_before, export, check_export),
    "a job's result": (prepared(True), publish, check_publication),
    "a table's files": (tables_before, lambda root: table_files(root, 2.0), check_tables),
}


@pytest.mark.parametrize("user", USERS)
def test_killed_at_any_operation_each_user_has_the_old_or_the_new(user: str) -> None:
    prepare, work, check = USERS[user]
    numbers = [number for number, root in kills(prepare, work) if check(root, False) is None]
    assert len(numbers) > 3


@pytest.mark.parametrize("user", USERS)
def test_killed_at_any_operation_another_process_finishes_the_work(user: str) -> None:
    prepare, work, check = USERS[user]
    for _, root in kills(prepare, work):
        work(root)
        check(root, True)


@pytest.mark.parametrize("user", USERS)
def test_what_is_called_complete_survives_a_loss_of_power(user: str) -> None:
    prepare, work, check = USERS[user]
    states = [check(root, done) for _, done, root in power_losses(prepare, work)]
    assert len(states) > 5


def test_the_simulated_disk_loses_what_was_not_flushed() -> None:
    """The test above can fail: it detects writing without flushing."""

    def careless(root: Path) -> None:
        (root / "aside").write_bytes(NEW)
        (root / "aside").rename(root / "target")

    lost = [root for _, done, root in power_losses(lambda root: fill(root / "target", OLD, False), careless)
            if (root / "target").read_bytes() not in (OLD, NEW)]  # fmt: skip
    assert lost
