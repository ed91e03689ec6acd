import datetime
import decimal
import gc
import math

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from elasticdl_nb.runtime.data import columnar, columntypes
from elasticdl_nb.runtime.data.reader import open_reader
from elasticdl_nb.runtime.errors import DataError

DAY = datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC)


def write(path, table, **options):
    if path.suffix == ".parquet":
        pq.write_table(table, path, **options)
    elif path.suffix == ".arrows":
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table, max_chunksize=30)
    else:
        pyarrow.feather.write_feather(table, path, chunksize=30)
    return str(path)


def read(path, start=0, end=None, **params):
    reader = open_reader([path], params)
    reader.check()
    end = reader.files()[0].records if end is None else end
    return pa.Table.from_batches(list(reader.read(path, start, end)))


def test_nothing_of_a_file_stays_until_garbage_is_collected(tmp_path):
    path = write(tmp_path / "t.parquet", pa.table({"a": [1, None], "b": [[1], [2]]}))
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        assert open_reader([path], {}).metadata.column_dtypes == {"a": "float64", "b": "int64"}
        assert read(path).num_rows == 2
        gc.collect()
        assert [one for one in gc.garbage if type(one).__module__.startswith("pyarrow")] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".feather", ".arrows"])
def test_records_are_counted_and_read_from_anywhere(tmp_path, suffix):
    table = pa.table({"a": np.arange(100), "b": np.arange(100) / 2})
    path = write(tmp_path / f"t{suffix}", table)
    assert open_reader([path], {}).files()[0].records == 100
    assert read(path).equals(table)
    assert read(path, 25, 91).equals(table.slice(25, 66))
    assert read(path, columns=["b"]).equals(table.select(["b"]))


def test_only_the_row_groups_needed_are_read_and_once(tmp_path, monkeypatch):
    path = write(tmp_path / "t.parquet", pa.table({"a": np.arange(100)}), row_group_size=10)
    loaded = []
    load = columnar.ParquetFile.load
    monkeypatch.setattr(columnar.ParquetFile, "load", lambda self, g, names: loaded.append(g) or load(self, g, names))
    reader = open_reader([path], {})
    for start in (35, 40, 45):
        assert [n for b in reader.read(path, start, start + 5) for n in b["a"].to_pylist()] == [
            *range(start, start + 5)
        ]
    assert loaded == [3, 4]


@pytest.mark.parametrize(
    ("array", "dtype", "values"),
    [
        (pa.array([1, 2], pa.int8()), "int8", [1, 2]),
        (pa.array([1, None]), "float64", [1.0, math.nan]),
        (pa.array([1.5, None], pa.float32()), "float32", [1.5, math.nan]),
        (pa.array([True, False]), "bool", [True, False]),
        (pa.array([True, None]), "float64", [1.0, math.nan]),
        (pa.array(["a", None]), "string", [b"a", b""]),
        (pa.array([b"\xff", None]), "string", [b"\xff", b""]),
        (pa.array(["a", None, "a"]).dictionary_encode(), "string", [b"a", b"", b"a"]),
        (pa.array(["a", "b"], pa.large_string()), "string", [b"a", b"b"]),
        (pa.array([decimal.Decimal("1.25"), None]), "float64", [1.25, math.nan]),
        (pa.array([DAY], pa.timestamp("us", "UTC")), "int64", [1704153600]),
        (pa.array([DAY, None], pa.timestamp("ns", "UTC")), "float64", [1704153600.0, math.nan]),
        (pa.array([DAY.date()]), "int64", [1704153600]),
        (pa.array([datetime.time(0, 1, 0, 500000)], pa.time64("us")), "float64", [60.5]),
        (pa.array([datetime.timedelta(seconds=1.5)]), "float64", [1.5]),
        (pa.array([[1, 2], [3, 4]]), "int64", [[1, 2], [3, 4]]),
        (pa.array([[1.0, None]], pa.list_(pa.float32(), 2)), "float32", [[1.0, math.nan]]),
        (pa.array([[[1, 2]], [[3, 4]]]), "int64", [[[1, 2]], [[3, 4]]]),
        (pa.array([["a", "b"]]), "string", [[b"a", b"b"]]),
        (pa.nulls(2), "float64", [math.nan, math.nan]),
    ],
    ids=str,
)
def test_every_type_becomes_one_that_models_take(tmp_path, array, dtype, values):
    for suffix in (".parquet", ".arrow"):
        path = write(tmp_path / f"t{suffix}", pa.table({"x": array}))
        reader = open_reader([path], {})
        assert reader.metadata.column_dtypes == {"x": dtype}
        found = columntypes.to_numpy(next(reader.read(path, 0, len(array)))["x"])
        expected = np.array(values, object if dtype == "string" else dtype)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
        assert reader.metadata.column_shapes.get("x", ()) == expected.shape[1:]


@pytest.mark.parametrize("statistics", [True, False])
def test_missing_values_anywhere_change_the_dtype_everywhere(tmp_path, statistics):
    write(tmp_path / "a.parquet", pa.table({"x": [1, 2]}), write_statistics=statistics)
    write(tmp_path / "b.parquet", pa.table({"x": [3, None]}), write_statistics=statistics)
    reader = open_reader([str(tmp_path)], {})
    assert reader.metadata.column_dtypes == {"x": "float64"}
    for file in reader.files():
        assert next(reader.read(file.path, 0, 2)).schema.field("x").type == pa.float64()


def test_types_of_several_files_are_brought_together(tmp_path):
    write(tmp_path / "a.parquet", pa.table({"x": pa.array([1], pa.int32())}))
    write(tmp_path / "b.parquet", pa.table({"x": pa.array([1.5], pa.float64())}))
    assert open_reader([str(tmp_path)], {}).metadata.column_dtypes == {"x": "float64"}
    write(tmp_path / "c.parquet", pa.table({"x": ["a"]}))
    with pytest.raises(DataError, match=r"c\.parquet: column 'x': text in one file and float64 in another"):
        open_reader([str(tmp_path)], {}).check()


def test_a_missing_column_is_named_with_the_nearest(tmp_path):
    path = write(tmp_path / "t.parquet", pa.table({"distance": [1], "delay": [2]}))
    with pytest.raises(DataError, match=r"t\.parquet: there is no column 'distanse'. Did you mean 'distance'\?"):
        open_reader([path], {"columns": ["distanse"]}).check()


def test_columns_that_models_cannot_take_are_refused_unless_left_out(tmp_path):
    path = write(tmp_path / "t.parquet", pa.table({"a": [{"b": 1}], "c": [1]}))
    with pytest.raises(DataError, match=r"column 'a': a model cannot take values of type struct<.*choose other"):
        open_reader([path], {}).check()
    assert read(path, columns=["c"]).to_pylist() == [{"c": 1}]


def test_lists_of_different_lengths_are_refused_with_their_place(tmp_path):
    path = write(tmp_path / "t.parquet", pa.table({"a": [[1, 2], [1]]}))
    with pytest.raises(DataError, match=r"t\.parquet, in records 0 to 1: column 'a' has a list of 1 values"):
        read(path)


def test_names_with_dots_are_plain_names(tmp_path):
    path = write(tmp_path / "t.parquet", pa.table({"a": [1], "a.b": [None]}))
    assert read(path, columns=["a", "a.b"]).column_names == ["a", "a.b"]


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_files_that_are_something_else_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"this is not it" * 10)
    with pytest.raises(DataError, match=rf"{name}: not an? \w+ file, or damaged"):
        open_reader([str(tmp_path / name)], {}).check()
