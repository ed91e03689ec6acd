"""Finding and reading files that appear while a job runs, on this machine and in an object store."""

from __future__ import annotations

import json
import os
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


class Followed:
    """A folder that gains files, and the master's view of it."""

    def __init__(self, folder: str, listings: Path, params: dict[str, object] | None = None) -> None:
        self.folder, self.listings, self.params = folder, listings, params or {}
        self.reader = self.opened()
        assert self.reader.metadata is not None
        self.master = self.discovery()

    def opened(self) -> FollowingReader:
        """What another process has."""
        reader = open_reader([self.folder], self.params, "data", self.listings, follow=True)
        assert isinstance(reader, FollowingReader)
        return reader

    def discovery(self) -> Discovery:
        expand = partial(expanded, [self.folder], self.params)
        return Discovery(self.reader, expand, self.reader.listing, Appeared(appeared_in(self.listings, "data")))

    def found(self, looks: int = 2) -> list[tuple[str, int]]:
        files = [one for _ in range(looks) for one in self.master.look()]
        return [(os.path.basename(one.path), one.records) for one in files]


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


def test_a_master_that_died_has_listed_what_it_found(followed: Followed, folder: Path) -> None:
    for name in "bcd":
        write(folder / f"{name}.parquet", x=[3], y=[1.0])
    followed.found()
    with appeared_in(followed.listings, "data").open("a") as file:
        file.write('["half a li')
    after = followed.discovery()
    assert [one.path[-9:] for one in after.listed_since(1)] == ["c.parquet", "d.parquet"]
    write(folder / "e.parquet", x=[3], y=[1.0])
    assert [one.records for _ in range(2) for one in after.look()] == [1]
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
