"""Finding and reading files that appear while a job runs, on this machine and in an object store."""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import os
import resource
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_remote import s3  # noqa: F401

from elasticdl_nb.runtime.data import recordio
from elasticdl_nb.runtime.data.chunks import FileRecords
from elasticdl_nb.runtime.data.discovery import Discovery
from elasticdl_nb.runtime.data.following import Appeared, FollowingReader, appeared_in
from elasticdl_nb.runtime.data.reader import expanded, open_reader
from elasticdl_nb.runtime.errors import DataError, OptionError
from elasticdl_nb.runtime.storage.pauses import FIRST, LONGEST, pause_after


class Followed:
    """A folder that gains files, and the master's view of it."""

    def __init__(self, folder: str, listings: Path, params: dict[str, object] | None = None, *others: str) -> None:
        self.paths, self.listings, self.params, self.now = [folder, *others], listings, params or {}, 0.0
        self.reader = self.opened()
        assert self.reader.metadata is not None
        self.master = self.discovery()

    def opened(self) -> FollowingReader:
        """What another process has."""
        reader = open_reader(self.paths, self.params, "data", self.listings, follow=True)
        assert isinstance(reader, FollowingReader)
        return reader

    def discovery(self) -> Discovery:
        expand, appeared = partial(expanded, params=self.params), Appeared(appeared_in(self.listings, "data"))
        return Discovery(
            self.reader, self.paths, expand, self.reader.listing, appeared, pause_after, lambda: self.now
        )  # fmt: skip

    def found(self, looks: int = 2, *, hurry: bool = False) -> list[tuple[str, int]]:
        files = [one for _ in range(looks) for one in self.look(hurry=hurry)]
        return [(os.path.basename(one.path), one.records) for one in files]

    def look(self, *, seconds: float | None = None, hurry: bool = False) -> list[FileRecords]:
        """Look once, so long after the look before, or when what waited then should be complete."""
        self.now += 2.0 * self.master.waits if seconds is None else seconds
        return self.master.look(hurry=hurry)


@contextlib.contextmanager
def full_disk(most: int) -> Iterator[None]:
    """No file of this process grows beyond `most` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "a.parquet", x=[1, 2], y=[0.5, None])
    return tmp_path / "data"


@pytest.fixture
def followed(folder: Path, tmp_path: Path) -> Followed:
    return Followed(os.fspath(folder), tmp_path / "listings")


def values(reader: FollowingReader, path: Path, end: int) -> list[dict[str, object]]:
    return [row for chunk in reader.read(os.fspath(path), 0, end) for row in chunk.to_pylist()]  # type: ignore[union-attr]


def test_a_file_is_taken_once_two_looks_have_found_it_the_same(followed: Followed, folder: Path) -> None:
    assert followed.found() == []
    path = write(folder / "b.parquet", x=[3], y=[1.0])
    assert followed.found(1) == [] and followed.master.waits
    write(path, x=[3, 4, 5], y=[1.0, 2.0, 3.0])
    assert followed.found(1) == [] and followed.master.waits, "it has just been written again"
    assert followed.found(1) == [("b.parquet", 3)] and not followed.master.waits
    assert followed.found() == [] and followed.master.problems() == []
    other = followed.opened()
    assert [row["x"] for row in values(other, path, 3)] == [3, 4, 5]


def test_columns_become_what_they_are_in_the_first_files(followed: Followed, folder: Path) -> None:
    path = write(folder / "b.parquet", other=["z"], y=[7], x=np.array([3], np.int8))
    assert followed.found() == [("b.parquet", 1)]
    (batch,) = followed.reader.read(os.fspath(path), 0, 1)
    assert batch.schema == pa.schema({"x": pa.int64(), "y": pa.float64()})  # type: ignore[union-attr]
    assert batch.to_pylist() == [{"x": 3, "y": 7.0}]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"x": [3]}, "there is no column 'y'"),
        ({"x": ["3"], "y": [1.0]}, "column 'x' is string, but int64 in the job's first files"),
        ({"x": [1.5], "y": [1.0]}, "column 'x' is float64, but int64"),
        ({"x": [1, None], "y": [1.0, 2.0]}, "column 'x' is float64, but int64"),
        ({"x": [1], "y": [[1.0, 2.0]]}, r"column 'y' is float64 [2], but float64 in"),
    ],
)
def test_a_file_that_does_not_fit_is_told_once_and_tried_when_it_has_changed(
    columns: dict[str, object], problem: str, followed: Followed, folder: Path
) -> None:
    path = write(folder / "b.parquet", **columns)
    assert followed.found(3) == []
    (told,) = followed.master.problems()
    assert "not used unless it changes" in told and problem in told and "b.parquet" in told
    write(path, x=[3, 4, 5], y=[1.0, 2.0, 3.0])
    assert followed.found() == [("b.parquet", 3)]


def test_files_that_are_no_data_yet_wait(followed: Followed, folder: Path) -> None:
    (folder / "b.parquet").write_bytes(b"")
    write(folder / "_c.parquet", x=[3], y=[1.0])
    write(folder / "d.parquet", x=pa.array([], "int64"), y=pa.array([], "float64"))
    assert followed.found(3) == []
    write(folder / "d.parquet", x=[3], y=[1.0])
    assert followed.found() == [("d.parquet", 1)]


def test_a_file_that_changes_after_it_was_listed_is_named_once(followed: Followed, folder: Path) -> None:
    path = write(folder / "b.parquet", x=[3], y=[1.0])
    followed.found()
    for changed in (path, folder / "a.parquet"):
        write(changed, x=[3, 4], y=[1.0, 2.0])
        os.utime(changed, (1, 1))
    assert followed.found(3) == []
    told = followed.master.problems()
    assert len(told) == 2 and all("what was added to it is not used" in one for one in told)
    with pytest.raises(DataError, match=r"b\.parquet was changed after the job had listed its files"):
        values(followed.reader, path, 1)
    path.unlink()
    with pytest.raises(DataError, match=r"b\.parquet was deleted after"):
        values(followed.opened(), path, 1)


def test_files_that_were_used_may_be_deleted(followed: Followed, folder: Path) -> None:
    path = write(folder / "b.parquet", x=[3], y=[1.0])
    (folder / "a.parquet").unlink()
    assert followed.found() == [("b.parquet", 1)]
    other = followed.opened()
    assert other.metadata.column_dtypes == {"x": "int64", "y": "float64"}
    assert values(other, path, 1) == [{"x": 3, "y": 1.0}]
    path.unlink()
    assert followed.found() == []
    (problem,) = followed.master.problems()
    assert "contains no data files" in problem


def test_a_path_with_nothing_in_it_does_not_keep_the_files_of_others_from_being_found(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        write(tmp_path / name / "1.parquet", x=[1])
    single = write(tmp_path / "single.parquet", x=[1])
    paths = [os.fspath(tmp_path / name) for name in ("a", "b", "single.parquet")]
    followed = Followed(paths[0], tmp_path / "listings", None, *paths[1:])
    (tmp_path / "a" / "1.parquet").unlink()
    single.unlink()
    write(tmp_path / "b" / "2.parquet", x=[1, 2])
    assert followed.found(4) == [("2.parquet", 2)]
    empty, gone = followed.master.problems()
    assert f"{paths[0]} contains no data files" in empty and f"there is no file {paths[2]}" in gone
    write(tmp_path / "a" / "2.parquet", x=[1])
    assert followed.found() == [("2.parquet", 1)] and followed.master.problems() == []


def test_two_files_that_cannot_be_used_are_each_told_once(followed: Followed, folder: Path) -> None:
    for name in "bc":
        write(folder / f"{name}.parquet", x=[3])
    assert followed.found(4) == [] and len(followed.master.problems()) == 2
    for name in "bc":
        write(folder / f"{name}.parquet", x=[3, 4])
    assert followed.found(4) == [] and followed.master.problems() == [], "it is what has been told already"


def test_a_file_that_may_be_read_later_is_tried_again_more_and_more_rarely(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed, tries = Followed(os.fspath(folder), tmp_path / "listings"), 0

    def fails(self: FollowingReader, path: str, stamp: object) -> FileRecords:
        nonlocal tries
        tries += 1
        raise DataError(f"{path}: could not be read") from OSError(errno.EIO, "Input/output error")

    write(folder / "b.parquet", x=[3], y=[1.0])
    with monkeypatch.context() as patch:
        patch.setattr(FollowingReader, "counted", fails)
        assert followed.found(4) == [] and tries == 1
        followed.now += FIRST
        assert followed.found(4) == [] and tries == 2
        followed.now += FIRST
        assert followed.found(4) == [] and tries == 2
    (told,) = followed.master.problems()
    assert "not used yet" in told and "b.parquet" in told
    assert followed.found(1) == [] and followed.found(1, hurry=True) == [("b.parquet", 1)], "the job is to end"


def test_in_an_object_store_a_file_is_tried_again_as_nothing_says_whether_it_has_changed(tmp_path: Path) -> None:
    def put(name: str, **columns: object) -> None:
        with fsspec.open(f"memory://tried/{name}.parquet", "wb") as file:
            pq.write_table(pa.table(columns), file)

    try:
        put("a", x=[1])
        followed = Followed("memory://tried", tmp_path)
        put("b", y=[1])
        assert followed.found(3) == [] and len(followed.master.problems()) == 1
        put("b", x=[1, 2])
        assert followed.found(3) == [], "not at every look"
        followed.now += LONGEST
        assert followed.found(1) == [("b.parquet", 2)] and followed.master.problems() == []
    finally:
        fsspec.filesystem("memory").rm("/tried", recursive=True)


def test_no_damage_and_no_error_of_a_library_ends_the_search(
    followed: Followed, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class BotoCoreError(Exception):
        """As libraries of object stores have."""

    def fails(*_: object, **__: object) -> None:
        raise BotoCoreError("could not connect")

    write(folder / "b.parquet", x=[3], y=[1.0])
    with monkeypatch.context() as patch:
        patch.setattr("elasticdl_nb.runtime.data.files.expand", fails)
        assert followed.found() == []
        patch.undo()
        patch.setattr(FollowingReader, "counted", fails)
        assert followed.found() == []
    listing, file = followed.master.problems()
    assert listing == f"{folder}: BotoCoreError: could not connect"
    assert file == f"a new file is not used unless it changes: {folder / 'b.parquet'}: BotoCoreError: could not connect"
    assert caplog.text.count("Traceback") == 2

    packed = tmp_path / "packed"
    packed.mkdir()
    rows = gzip.compress(b"x\n" + b"".join(b"%d\n" % (n * n) for n in range(400)), mtime=0)
    (packed / "a.csv.gz").write_bytes(rows)
    others = Followed(os.fspath(packed), tmp_path / "others")
    (packed / "b.csv.gz").write_bytes(rows[:20] + bytes(byte ^ 255 for byte in rows[20:60]) + rows[60:])
    assert others.found() == []
    (told,) = others.master.problems()
    assert "b.csv.gz: damaged gzip data" in told


def test_files_that_cannot_be_listed_as_the_disk_is_full_are_found_later(followed: Followed, folder: Path) -> None:
    write(folder / "b.parquet", x=[3], y=[1.0])
    followed.found()
    for name in "cd":
        write(folder / f"{name}.parquet", x=[3], y=[1.0])
    place = appeared_in(followed.listings, "data")
    followed.found(1)
    with full_disk(place.stat().st_size + 10):
        assert followed.found() == [] and followed.master.waits
    (problem,) = followed.master.problems()
    assert problem.startswith("new files could not be listed, and are used once they can be: OSError: ")
    assert followed.found() == [("c.parquet", 1), ("d.parquet", 1)] and followed.master.problems() == []
    assert [json.loads(line)[0][-9:] for line in place.read_text().splitlines()] == [f"{n}.parquet" for n in "bcd"]


def test_a_job_goes_on_when_the_files_whose_content_showed_their_format_were_deleted(tmp_path: Path) -> None:
    first = write(tmp_path / "part-1", x=[1])
    followed = Followed(f"{tmp_path}/part-*", tmp_path / "listings")
    first.unlink()
    second = write(tmp_path / "part-2", x=[2])
    assert followed.found() == [("part-2", 1)] and values(followed.opened(), second, 1) == [{"x": 2}]


def test_a_job_goes_on_when_all_its_used_objects_were_deleted(tmp_path: Path) -> None:
    with fsspec.open("memory://deleted/a.parquet", "wb") as file:
        pq.write_table(pa.table({"x": [1]}), file)
    followed = Followed("memory://deleted", tmp_path)
    fsspec.filesystem("memory").rm("/deleted", recursive=True)
    assert followed.opened().metadata.column_names == ["x"], "as a worker or master that starts again"
    with pytest.raises(OptionError, match="has an effect only if data is a directory or glob"):
        Followed("memory://deleted", tmp_path / "another")


def test_a_file_that_is_hidden_until_it_is_complete_is_used_once(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", x=[1])
    followed = Followed(f"{tmp_path}/*.parquet", tmp_path / "listings")
    for name in ("_b.parquet", ".c.parquet"):
        write(tmp_path / name, x=[1])
    assert followed.found(3) == []
    (tmp_path / "_b.parquet").rename(tmp_path / "b.parquet")
    assert followed.found(3) == [("b.parquet", 1)]


def test_a_file_is_used_when_it_was_unchanged_for_two_seconds(followed: Followed, folder: Path) -> None:
    for number in range(4):  # looks are more frequent than that
        write(folder / "b.parquet", x=[3] * (number + 1), y=[1.0] * (number + 1))
        assert followed.look(seconds=0.5) == [] and followed.master.waits
        assert followed.master.pause_after_look(0.001) == 0.5
    assert [len(followed.look(seconds=0.5)) for _ in range(4)] == [0, 0, 0, 1]
    assert not followed.master.waits
    write(folder / "c.parquet", x=[3], y=[1.0])
    assert followed.look(hurry=True) == [] and followed.master.pause_after_look(0.001) == 2.0
    assert [one.records for one in followed.look(hurry=True)] == [1]


def test_a_master_that_died_has_listed_what_it_found(followed: Followed, folder: Path) -> None:
    for name in "bcd":
        write(folder / f"{name}.parquet", x=[3], y=[1.0])
    followed.found()
    with appeared_in(followed.listings, "data").open("a") as file:
        file.write('["half a li')
    after = followed.master = followed.discovery()
    assert [one.path[-9:] for one in after.listed_since(1)] == ["c.parquet", "d.parquet"]
    write(folder / "e.parquet", x=[3], y=[1.0])
    assert [one.records for _ in range(2) for one in followed.look()] == [1]
    lines = appeared_in(followed.listings, "data").read_text().splitlines()
    assert [os.path.basename(json.loads(line)[0])[0] for line in lines] == ["b", "c", "d", "e"]


def test_records_of_bytes_and_rows_of_text(tmp_path: Path) -> None:
    rows = [b"x,y", b"1,2"], [b"x,y", b"3,4", b"5,6"]
    for kind, first, second in (("recordio", [b"a"], [b"b", b"c"]), ("csv", *rows)):
        place = tmp_path / kind
        place.mkdir()

        def put(name: str, records: list[bytes], kind: str = kind, place: Path = place) -> Path:
            path = place / f"{name}.{kind}"
            if kind == "csv":
                path.write_bytes(b"\n".join(records) + b"\n")
            else:
                recordio.write_file(os.fspath(path), records)
            return path

        put("a", first)
        followed = Followed(os.fspath(place), tmp_path / f"listings {kind}")
        path = put("b", second)
        assert followed.found() == [(f"b.{kind}", 2)]
        chunks = list(followed.opened().read(os.fspath(path), 1, 2))
        if kind == "csv":
            assert [chunk.to_pylist() for chunk in chunks] == [[{"x": "5", "y": "6"}]]  # type: ignore[union-attr]
            put("c", [b"x,z", b"3,4"])
            assert followed.found() == [] and "there is no column 'y'" in followed.master.problems()[0]
        else:
            assert [chunk.to_list() for chunk in chunks] == [[b"c"]]  # type: ignore[union-attr]
            (piece,) = followed.opened().pieces(os.fspath(path), 0, 2)
            assert piece().to_list() == [b"b", b"c"]


def test_an_object_store_shows_what_appears_there(s3: str, tmp_path: Path) -> None:  # noqa: F811
    def put(name: str, rows: int) -> None:
        with fsspec.open(f"{s3}/followed/{name}.parquet", "wb") as file:
            pq.write_table(pa.table({"x": np.arange(rows)}), file)

    put("a", 2)
    followed = Followed(f"{s3}/followed", tmp_path)
    assert followed.found(1) == []
    put("b", 3)
    assert followed.found(1) == [("b.parquet", 3)], "in an object store a file is complete when it appears"
    assert followed.found() == [] and followed.master.problems() == []
    chunks = list(followed.opened().read(f"{s3}/followed/b.parquet", 1, 3))
    assert [chunk.to_pylist() for chunk in chunks] == [[{"x": 1}, {"x": 2}]]  # type: ignore[union-attr]
    fsspec.filesystem("s3").rm(f"{s3}/followed", recursive=True)
    assert followed.found() == []
    assert "followed" in followed.master.problems()[0]


@pytest.mark.parametrize(
    ("paths", "params", "problem"),
    [
        (["data/a.parquet"], {}, "follow: has an effect only if data is a directory or glob"),
        (["data"], {"typed": True}, "follow: CSV columns that have types cannot be followed"),
        (["http://127.0.0.1:9/data/*.csv"], {}, "can be seen before it is complete; only directories of this machine"),
    ],
)
def test_what_cannot_be_followed_is_refused(
    paths: list[str], params: dict[str, object], problem: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    if "typed" in params:
        (folder / "a.parquet").rename(folder / "a.csv")
        (folder / "a.csv").write_text("x\n1\n")
    with pytest.raises(OptionError) as caught:
        open_reader(paths, params, "data", follow=True)
    assert problem in str(caught.value)


def test_the_list_of_what_appeared_counts_records(tmp_path: Path) -> None:
    appeared = Appeared(tmp_path / "data.appeared")
    appeared.add([(FileRecords("a", 5), (1, 2)), (FileRecords("b", 6), None)])
    again = Appeared(tmp_path / "data.appeared")
    again.read()
    assert again.records == appeared.records == [FileRecords("a", 5), FileRecords("b", 6)]
    assert again.stamps == {"a": (1, 2), "b": None}
