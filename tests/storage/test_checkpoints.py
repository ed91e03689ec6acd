"""Directories of checkpoints: which are complete and intact, whose they are, and what becomes of the others."""

from __future__ import annotations

import errno
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.errors import DamagedCheckpoint, DataError
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage import checkpoints, ownership
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.storage.ownership import RECORD, InUseError, Owner


def write(directory: Path, step: int, job: str = "job", content: bytes = b"values " * 900) -> Path:
    made = checkpoints.begin(directory, step, job)
    (made / "model.bin").write_bytes(content)
    checkpoints.seal(made, step, job)
    return Path(checkpoints.commit(made, {"tasks": step}, job))


def flips(path: Path, every: int) -> Iterator[str]:
    """Change every so many'th byte of every file of a checkpoint, one at a time, and yield which."""
    for file in sorted(path.iterdir()):
        intact = file.read_bytes()
        for place in [*range(0, len(intact), every), len(intact) - 1]:
            file.write_bytes(intact[:place] + bytes([intact[place] ^ 0x5A]) + intact[place + 1 :])
            yield f"byte {place} of {file.name}"
        file.write_bytes(intact[:-1])
        yield f"the last byte of {file.name} is gone"
        file.write_bytes(b"")
        yield f"{file.name} is empty"
        file.unlink()
        yield f"{file.name} is gone"
        file.write_bytes(intact)


def test_any_change_of_a_checkpoint_is_noticed_and_the_one_before_it_found(tmp_path: Path) -> None:
    before, newest = write(tmp_path, 5), write(tmp_path, 120, content=b"newer values " * 300)
    assert checkpoints.find(tmp_path) == newest
    # The manifest is small, and says what the rest must be: every bit of it counts.
    count = 0
    for file, every in ((newest / "model.bin", 1000), (newest / checkpoints.QUEUE, 1), (newest / "manifest.json", 1)):
        intact = file.read_bytes()
        for place in range(0, len(intact), every):
            for bit in range(8):
                file.write_bytes(intact[:place] + bytes([intact[place] ^ (1 << bit)]) + intact[place + 1 :])
                found = checkpoints.find(tmp_path)
                # White space in the manifest may change into other white space.
                assert found == before or checkpoints.Manifest.read(newest).step == 120, (file, place, bit)
                count += found == before
        file.write_bytes(intact)
    assert count > 1000


def test_a_checkpoint_with_a_missing_or_shorter_file_is_passed_over(tmp_path: Path) -> None:
    before, newest = write(tmp_path, 5), write(tmp_path, 120)
    for what in flips(newest, 1000):
        assert checkpoints.find(tmp_path) == before, what
    assert checkpoints.find(tmp_path) == newest


def test_what_is_wrong_with_each_is_said_when_none_is_intact(tmp_path: Path) -> None:
    for step in (5, 7):
        (write(tmp_path, step) / "model.bin").unlink()
    with pytest.raises(DamagedCheckpoint, match=r"000000007/model.bin: missing.*; .*000000005/model.bin: missing"):
        checkpoints.find(tmp_path)
    with pytest.raises(DataError, match="no checkpoint found"):
        checkpoints.find(tmp_path / "elsewhere")


def test_only_a_part_is_read_if_only_a_part_is_needed(tmp_path: Path) -> None:
    path = write(tmp_path, 5)
    size = (path / "model.bin").stat().st_size
    (path / "model.bin").write_bytes(b"x" * size)
    assert checkpoints.verify(path, contents_of=()) == 5
    with pytest.raises(DamagedCheckpoint, match="its checksum does not match") as caught:
        checkpoints.verify(path, contents_of=("model.bin",))
    assert caught.value.checkpoint == str(path)
    (path / "model.bin").write_bytes(b"x")
    with pytest.raises(DamagedCheckpoint, match=f"has 1 bytes, but was written with {size}"):
        checkpoints.verify(path, contents_of=())


def test_checkpoints_of_the_first_version_are_still_read(tmp_path: Path) -> None:
    path = write(tmp_path, 5)
    values = json.loads((path / checkpoints.MANIFEST).read_text())
    (path / checkpoints.MANIFEST).write_text(json.dumps({name: values[name] for name in ("step", "files")}))
    assert checkpoints.find(tmp_path) == path
    assert checkpoints.verify(path) == 5


def test_a_damaged_checkpoint_is_kept_aside_and_only_a_few_of_them(tmp_path: Path) -> None:
    for step in range(1, 8):
        path = write(tmp_path, step)
        checkpoints.set_aside(path)
        assert not path.exists() and not checkpoints.completed(tmp_path)
        os.utime(tmp_path / checkpoints.damaged_name(path), (step, step))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"damaged-step-{n:09d}" for n in (5, 6, 7)]
    checkpoints.set_aside(tmp_path / "step-000000099")  # someone else has removed it


def test_pruning_removes_only_the_job_s_own_checkpoints(tmp_path: Path) -> None:
    for step in (1000, 2000):
        write(tmp_path, step, "earlier")
    for step in (10, 20, 30):
        checkpoints.prune(write(tmp_path, step, "later"), 2, "later")
    names = [path.name for path in checkpoints.completed(tmp_path)]
    assert names == ["step-000001000", "step-000002000", "step-000000020", "step-000000030"]
    assert checkpoints.find(tmp_path).name == "step-000000030", "the newest, rather than that of the highest step"
    checkpoints.prune(tmp_path / "step-000000030", 0, "later")
    assert len(checkpoints.completed(tmp_path)) == 4


def test_shared_files_are_known_by_their_contents_where_inodes_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = itertools.count()
    monkeypatch.setattr(checkpoints, "_inode", lambda _: (1, next(numbers)))
    first = write(tmp_path, 1)
    for content in (b"", b"x"):
        made = checkpoints.begin(tmp_path, 2, "job")
        with (first / "model.bin").open("ab") as file:
            file.write(content)
        os.link(first / "model.bin", made / "base")
        if content:
            with pytest.raises(OSError, match="shared with a checkpoint that is damaged or gone"):
                checkpoints.seal(made, 2, "job")
        else:
            checkpoints.seal(made, 2, "job")
            assert checkpoints.Manifest.read(made).files["base"] == checkpoints.Manifest.read(first).files["model.bin"]


def test_one_that_shares_no_file_with_the_newest_is_kept(tmp_path: Path) -> None:
    base, kept = None, []
    for step in range(1, 9):
        made = checkpoints.begin(tmp_path, step, "job")
        if step in (1, 4):  # whole; the others share its file
            (made / "base").write_bytes(b"base")
        else:
            os.link(Path(base or "") / "base", made / "base")
        checkpoints.seal(made, step, "job")
        base = checkpoints.commit(made, {}, "job")
        kept.append([int(path.name[-1]) for path in checkpoints.to_keep(base, 3, "job")])
        checkpoints.prune(base, 3, "job")
        assert kept[-1] == [int(path.name[-1]) for path in checkpoints.completed(tmp_path)]
    assert kept == [[1], [1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [3, 5, 6], [3, 6, 7], [3, 7, 8]]
    checkpoints.prune(tmp_path / "step-000000007", 1, "job")
    names = [path.name for path in checkpoints.completed(tmp_path)]
    assert names == ["step-000000007", "step-000000008"], "one that does not count yet takes nobody's place"
    checkpoints.prune(base, 1, "job")
    assert [path.name for path in checkpoints.completed(tmp_path)] == ["step-000000008"]


def test_a_checkpoint_does_not_replace_that_of_another_job(tmp_path: Path) -> None:
    first = write(tmp_path, 10, "earlier", b"earlier")
    for content in (b"later", b"later still"):  # the job may have gone back in between
        second = write(tmp_path, 10, "later", content)
        assert (first / "model.bin").read_bytes() == b"earlier"
        assert (second / "model.bin").read_bytes() == content
    assert len(checkpoints.completed(tmp_path)) == 2
    assert write(tmp_path, 10, "earlier", b"once more") == first


def test_a_master_that_finds_a_checkpoint_complete_takes_it_as_it_is(tmp_path: Path) -> None:
    write(tmp_path, 10, "earlier")
    made = checkpoints.begin(tmp_path, 10, "later")
    checkpoints.seal(made, 10, "later")
    final = checkpoints.commit(made, {}, "later")
    assert checkpoints.commit(made, {}, "later") == final
    with pytest.raises(DataError):
        checkpoints.commit(tmp_path / ".step-000000011.x", {}, "later")


def test_what_dead_processes_left_is_removed_when_the_next_one_begins(tmp_path: Path) -> None:
    left = checkpoints.begin(tmp_path, 1, "job")
    (left / "half").write_bytes(b"x")
    sealed = checkpoints.begin(tmp_path, 2, "job")
    assert not left.exists()
    checkpoints.seal(sealed, 2, "job")
    checkpoints.begin(tmp_path, 3, "job")
    assert sealed.exists(), "the master may be completing it"


# ------------------------------------------------------------ whose a directory is


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], JobFolder]:
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    return lambda name: JobFolder.create(JobSpec.create("train", model_def="m", data="d", job_name=name))


def test_a_directory_belongs_to_one_running_job(tmp_path: Path, job: Callable[[str], JobFolder]) -> None:
    first, second = job("first"), job("second")
    directory = tmp_path / "ckpt"
    ownership.claim(directory, Owner.of(first))
    with first.hold_master_lock():
        ownership.claim(directory, Owner.of(first))  # another master of the same job
        with pytest.raises(InUseError, match=r"ckpt is used by the job 'first', which is running; .* cancel first\)"):
            ownership.claim(directory, Owner.of(second))
        assert ownership.taken_by(directory, second.identity) == "first"
        with pytest.raises(OSError, match="belongs to the job 'first' now"):
            checkpoints.begin(directory, 1, second.identity)
    ownership.claim(directory, Owner.of(second))  # the first one was killed
    ownership.release(directory, Owner.of(first))
    assert ownership.taken_by(directory, first.identity) == "second"
    ownership.release(directory, Owner.of(second))
    assert not list(directory.iterdir())


def test_a_job_of_the_same_name_is_another(tmp_path: Path, job: Callable[[str], JobFolder]) -> None:
    ownership.claim(tmp_path / "ckpt", Owner.of(job("same")))
    second = job("same")
    with second.hold_master_lock():
        ownership.claim(tmp_path / "ckpt", Owner.of(second))


def test_a_job_elsewhere_is_alive_while_it_renews_its_record(tmp_path: Path, job: Callable[[str], JobFolder]) -> None:
    directory, here = tmp_path / "ckpt", Owner.of(job("here"))
    elsewhere = Owner("123", "elsewhere", "/jobs/elsewhere", "another machine")
    ownership.claim(directory, elsewhere)
    old = time.time() - ownership.SILENCE_LIMIT - 5
    os.utime(directory / RECORD, (old, old))
    ownership.renew(directory, elsewhere)
    with pytest.raises(InUseError, match="elsewhere"):
        ownership.claim(directory, here)
    os.utime(directory / RECORD, (old, old))
    ownership.renew(directory, here)  # it is not its to renew
    ownership.claim(directory, here)
    assert ownership.taken_by(directory, here.job) == ""
    assert [path.name for path in directory.iterdir()] == [RECORD]


def test_a_record_that_is_no_record_counts_for_nothing(tmp_path: Path, job: Callable[[str], JobFolder]) -> None:
    for content in ("", "{}", "[1]", '{"job": 1'):
        (tmp_path / RECORD).write_text(content)
        ownership.claim(tmp_path, Owner.of(job("job")))
        (tmp_path / RECORD).unlink()


# ------------------------------------------------------------ full disks


def test_a_full_disk_leaves_the_earlier_checkpoints_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = write(tmp_path, 5)
    made = checkpoints.begin(tmp_path, 7, "job")
    checkpoints.seal(made, 7, "job")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable, "write", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.commit(made, {}, "job")
    checkpoints.discard(made)
    assert [path.name for path in tmp_path.iterdir()] == [kept.name]
