"""What jobs that go on from each other know of the files that earlier ones have used."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elasticdl_nb.runtime.data.files import stamp_of
from elasticdl_nb.runtime.data.reader import FileRecords
from elasticdl_nb.runtime.master.counting import count_data, discovery_of
from elasticdl_nb.runtime.master.decisions.events import DataCounted
from elasticdl_nb.runtime.storage import usedfiles
from elasticdl_nb.runtime.storage.usedfiles import Used


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    """A job's folder, of what usedfiles needs: the job follows the directory `data`."""
    (tmp_path / "data").mkdir()
    (tmp_path / "listings").mkdir()
    spec = SimpleNamespace(follow=True, data=(f"{tmp_path}/data",), data_reader_params={}, validation_data=())
    return SimpleNamespace(listings=tmp_path / "listings", spec=lambda: spec)


def put(path: Path, rows: int) -> str:
    pq.write_table(pa.table({"x": [*range(rows)]}), path)
    return os.fspath(path)


def test_what_was_added_to_a_used_file_between_two_jobs_is_told(folder: Any, tmp_path: Path) -> None:
    old, same = put(tmp_path / "data" / "old.parquet", 2), put(tmp_path / "data" / "same.parquet", 2)
    used = Used({path: stamp_of(path) for path in (old, same)})
    (folder.listings / usedfiles.NAME).write_text(json.dumps(used.to_json()))
    put(tmp_path / "data" / "old.parquet", 300)
    put(tmp_path / "data" / "new.parquet", 3)
    counted = count_data(folder)
    assert isinstance(counted, DataCounted)
    assert [(os.path.basename(one.path), one.records) for one in counted.data] == [("new.parquet", 3)]
    discovery = discovery_of(folder)
    assert [one for _ in range(3) for one in discovery.look()] == []
    (told,) = discovery.problems()
    assert told.startswith(f"{old} was changed after its records were listed")


def test_what_is_left_of_a_file_outlives_jobs_that_do_not_list_it(folder: Any, tmp_path: Path) -> None:
    gone, there = str(tmp_path / "data" / "gone.parquet"), put(tmp_path / "data" / "there.parquet", 5)
    before = Used({gone: (10, 1), there: stamp_of(there)}, {gone: [(3, 7), (9, 10)], there: [(2, 5)]})
    (folder.listings / usedfiles.NAME).write_text(json.dumps(before.to_json()))
    counted = count_data(folder)
    assert isinstance(counted, DataCounted) and list(counted.data) == [FileRecords(there, 3, 2)]
    state = {"queue": {"waiting": []}, "followed": {"found": 0, "next": [there, 4]}}
    saved = Used.from_json(usedfiles.with_used(folder, state)[usedfiles.KEY])
    assert saved == Used(before.files, {gone: [(3, 7), (9, 10)], there: [(4, 5)]})
    usedfiles.write(folder, tmp_path)
    written = Used.from_json(json.loads((tmp_path / usedfiles.NAME).read_text()))
    assert written == Used(before.files, {gone: [(3, 7), (9, 10)]})
    assert written.rest(FileRecords(gone, 10)) == [FileRecords(gone, 4, 3), FileRecords(gone, 1, 9)]
