"""Many files, long files, wide files, and files that come, go and change while a job runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elasticdl_nb.runtime.data import bytescan, csvfiles, files, recordio
from elasticdl_nb.runtime.data.reader import open_reader
from elasticdl_nb.runtime.errors import DataError

FORMATS = ("csv", "csv.gz", "recordio", "parquet")

# With fewer open than there are, and more than once.
READ_ALL = """
import resource, sys
from elasticdl_nb.runtime.data.reader import open_reader
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
reader = open_reader([sys.argv[1]], {})
reader.check()
counted = {file.path: file.records for file in reader.files()}
for _ in range(2):
    print(sum(len(chunk) for path, records in counted.items() for chunk in reader.read(path, 0, records)))
"""


def write_file(path: Path, records: int) -> None:
    if path.suffix == ".recordio":
        recordio.write_file(str(path), [b"x"] * records)
    elif path.suffix == ".parquet":
        pq.write_table(pa.table({"a": list(range(records))}), path)
    elif path.suffix == ".gz":
        import gzip

        path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * records))
    else:
        path.write_text("a,b\n" + "1,2\n" * records)


@pytest.mark.parametrize("format", FORMATS)
def test_there_may_be_more_files_than_may_be_open(tmp_path: Path, format: str) -> None:
    for number in range(400):
        write_file(tmp_path / f"{number:04d}.{format}", 3)
    command = [sys.executable, "-c", READ_ALL, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["1200"] * 2


@pytest.mark.parametrize("format", FORMATS)
def test_many_small_files_are_counted_with_little_work(tmp_path: Path, format: str) -> None:
    for number in range(500):
        write_file(tmp_path / f"{number:04d}.{format}", 3)
    work = []
    for _ in range(3):  # the first time there is something to import, and other threads of this process may work, too
        begun = time.process_time()
        counted = open_reader([str(tmp_path)], {}).files()
        work.append(time.process_time() - begun)
        assert [file.records for file in counted] == [3] * 500
    assert min(work) < 1.0, "several times the work that it takes"


@pytest.mark.parametrize("format", FORMATS)
def test_a_jobs_files_are_listed_once(tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, beside = tmp_path / "data", tmp_path / "job"
    data.mkdir()
    first, second = (data / f"{name}.{format}" for name in "ab")
    write_file(first, 3)
    write_file(second, 4)
    glob = [str(data / f"*.{format}")]
    assert [file.records for file in open_reader(glob, {}, "data", beside).files()] == [3, 4]
    write_file(data / f"c.{format}", 5)  # too late
    later = open_reader(glob, {}, "data", beside)
    assert [file.path for file in later.files()] == [str(first), str(second)]
    with pytest.raises(DataError, match=rf"c\.{format} is not one of the job's files"):
        list(later.read(str(data / f"c.{format}"), 0, 1))

    second.unlink()
    monkeypatch.setattr(files, "_OPEN_FILES", files._OpenFiles())  # as in another process
    with pytest.raises(DataError, match=rf"b\.{format} was deleted after the job had listed its files"):
        for one in open_reader(glob, {}, "data", beside).files():
            list(open_reader(glob, {}, "data", beside).read(one.path, 0, one.records))
    write_file(second, 1000)
    with pytest.raises(
        DataError, match=rf"b\.{format} was changed after the job had listed its files \(\d+ bytes then"
    ):
        open_reader(glob, {}, "data", beside).files()
    assert [file.records for file in open_reader(glob, {}, "validation_data", beside).files()] == [3, 1000, 5]


def test_the_rows_of_a_long_file_are_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.csv"
    rows = [f"{number},text {number}" for number in range(400_000)]
    path.write_text("a,b\n" + "\n".join(rows) + "\n")
    assert path.stat().st_size > csvfiles._BLOCK
    counted = open_reader([str(path)], {}, "data", tmp_path / "job").files()
    scanned: list[int] = []
    scan = bytescan.scan_csv
    monkeypatch.setattr(bytescan, "scan_csv", lambda block, *rest: scanned.append(len(block)) or scan(block, *rest))
    reader = open_reader([str(path)], {}, "data", tmp_path / "job")
    assert reader.files() == counted and counted[0].records == 400_000
    last = pa.Table.from_batches(reader.read(str(path), 399_990, 400_000))
    assert last.column("a").to_pylist() == [str(number) for number in range(399_990, 400_000)]
    assert sum(scanned) < 1 << 20
    assert sum(file.stat().st_size for file in (tmp_path / "job").iterdir()) < 5000

    path.write_text("a,b\n" + "\n".join(rows[::-1]) + "\n")  # of the same size
    os.utime(path, ns=(1, 1))
    with pytest.raises(DataError, match="it was written again"):
        list(open_reader([str(path)], {}, "data", tmp_path / "job").read(str(path), 0, 1))


def test_a_damaged_row_index_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("a\n" + "0123456789\n" * 400_000)
    for damage in (None, b"", b"nonsense"):
        reader = open_reader([str(path)], {}, "data", tmp_path / "job")
        assert reader.files()[0].records == 400_000
        (index,) = (tmp_path / "job").glob("*.npy")
        if damage is not None:
            index.write_bytes(damage)


def test_a_wide_file_is_read(tmp_path: Path) -> None:
    columns = 10_000
    names = [f"c{n}" for n in range(columns)]
    path = tmp_path / "wide.csv"
    path.write_text(",".join(names) + "\n" + "\n".join(",".join(str(r * n) for n in range(columns)) for r in range(3)))
    reader = open_reader([str(path)], {"typed": True})
    reader.check()
    (batch,) = reader.read(str(path), 0, 3)
    assert batch.num_columns == columns
    assert np.array_equal(batch.column(columns - 1).to_numpy(), [0, columns - 1, 2 * (columns - 1)])
