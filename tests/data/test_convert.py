import functools

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elasticdl_nb.runtime.data import convert as convert_module
from elasticdl_nb.runtime.data import examples, recordio, tfrecord
from elasticdl_nb.runtime.data.convert import convert
from elasticdl_nb.runtime.data.reader import open_reader
from elasticdl_nb.runtime.errors import DataError, OptionError

ZOO = """
def prepare_data_for_a_single_file(filename):
    with open(filename, "rb") as file:
        return file.read().upper()

def lines(filename):
    with open(filename, "rb") as file:
        for line in file:
            yield line.strip()

def failing(filename):
    if filename.endswith("b.dat"):
        raise ValueError("no such colour")
    return b"fine"

def not_bytes(filename):
    return [1]
"""

TABLE = pa.table({"a": list(range(10)), "b": [n / 2 for n in range(10)], "c": [f"é{n}" for n in range(10)]})


@pytest.fixture
def zoo(tmp_path):
    (tmp_path / "zoo").mkdir()
    name = f"preparing_{tmp_path.name}"  # modules stay imported: a new name for every test
    (tmp_path / "zoo" / f"{name}.py").write_text(ZOO)
    (tmp_path / "zoo" / f"{name}_broken.py").write_text("import surely_not_installed")
    (tmp_path / "raw").mkdir()
    for letter in "abc":
        (tmp_path / "raw" / f"{letter}.dat").write_text(f"{letter}1\n{letter}2\n")
    return functools.partial(convert, str(tmp_path / "raw"), zoo=str(tmp_path / "zoo")), name


def read_bytes(path):
    reader = open_reader([str(path)], {})
    return [r for file in reader.files() for c in reader.read(file.path, 0, file.records) for r in c.to_list()]


def read_table(path, **params):
    reader = open_reader([str(path)], params)
    return pa.concat_tables(
        pa.Table.from_batches(list(reader.read(file.path, 0, file.records))) for file in reader.files()
    )


# ------------------------------------------------------------------ between formats


@pytest.mark.parametrize("format", ["parquet", "arrow", "csv"])
def test_columns_become_examples_and_come_back(tmp_path, format):
    pq.write_table(TABLE, tmp_path / "first.parquet")
    convert(str(tmp_path / "first.parquet"), str(tmp_path / f"t.{format}"))
    result = convert(str(tmp_path / f"t.{format}"), str(tmp_path / "t.recordio"))
    assert (result.records, result.source_files, result.files) == (10, 1, [str(tmp_path / "t.recordio")])
    feature = examples.Example.FromString(read_bytes(tmp_path / "t.recordio")[3]).features.feature
    assert (feature["a"].int64_list.value[:], feature["b"].float_list.value[:]) == ([3], [1.5])
    assert feature["c"].bytes_list.value[:] == ["é3".encode()]
    convert(str(tmp_path / "t.recordio"), str(tmp_path / f"back.{format}"))
    params = {"typed": True} if format == "csv" else {}
    assert read_table(tmp_path / f"back.{format}", **params).to_pydict() == TABLE.to_pydict()


def test_vectors_stay_vectors_and_take_numbered_columns_in_csv(tmp_path):
    pq.write_table(pa.table({"v": [[1.0, 2.0], [3.0, 4.0]]}), tmp_path / "v.parquet")
    convert(str(tmp_path / "v.parquet"), str(tmp_path / "v.recordio"))
    convert(str(tmp_path / "v.recordio"), str(tmp_path / "v.csv"))
    assert (tmp_path / "v.csv").read_text() == '"v_0","v_1"\n1,2\n3,4\n'
    convert(str(tmp_path / "v.recordio"), str(tmp_path / "w.parquet"))
    assert read_table(tmp_path / "w.parquet").to_pydict() == {"v": [[1.0, 2.0], [3.0, 4.0]]}


def test_bytes_go_between_recordio_and_tfrecord_as_they_are(tmp_path):
    records = [b"x" * n for n in range(100)]
    recordio.write_file(str(tmp_path / "a.recordio"), records)
    convert(str(tmp_path / "a.recordio"), str(tmp_path / "a.tfrecord"))
    convert(str(tmp_path / "a.tfrecord"), str(tmp_path / "b.recordio"))
    assert read_bytes(tmp_path / "a.tfrecord") == read_bytes(tmp_path / "b.recordio") == records


@pytest.mark.parametrize(("options", "sizes"), [({"records_per_file": 4}, [4, 4, 2]), ({"num_files": 2}, [5, 5])])
@pytest.mark.parametrize("format", ["recordio", "parquet"])
def test_the_output_may_be_several_files(tmp_path, format, options, sizes):
    pq.write_table(TABLE, tmp_path / "t.parquet")
    result = convert(str(tmp_path / "t.parquet"), str(tmp_path / "out"), to=format, **options)
    assert result.files == [str(tmp_path / "out" / f"data-{n:05d}.{format}") for n in range(len(sizes))]
    assert [file.records for file in open_reader([str(tmp_path / "out")], {}).files()] == sizes


def test_any_number_of_processes_gives_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(convert_module, "_PIECE_RECORDS", 3)
    pq.write_table(TABLE, tmp_path / "t.parquet")
    seen = []
    for processes in (1, 2):
        convert(
            str(tmp_path / "t.parquet"), str(tmp_path / f"{processes}.recordio"), num_processes=processes,
            progress=lambda done, total: seen.append((done, total)),
        )  # fmt: skip
    assert (tmp_path / "1.recordio").read_bytes() == (tmp_path / "2.recordio").read_bytes()
    assert seen == [(0, 10), (3, 10), (6, 10), (9, 10), (10, 10)] * 2


def test_features_that_change_their_form_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(convert_module, "_PIECE_RECORDS", 1)
    feature = examples.Example()
    feature.features.feature["x"].float_list.value.extend([1, 2])
    scalar = examples.Example()
    scalar.features.feature["x"].float_list.value.append(1)
    recordio.write_file(str(tmp_path / "a.recordio"), [scalar.SerializeToString(), feature.SerializeToString()])
    with pytest.raises(DataError, match="feature 'x' does not fit the first records"):
        convert(str(tmp_path / "a.recordio"), str(tmp_path / "a.parquet"))
    assert not (tmp_path / "a.parquet").exists()


def test_records_that_are_no_examples_have_no_columns(tmp_path):
    recordio.write_file(str(tmp_path / "a.recordio"), [b"\xff\xff"])
    with pytest.raises(DataError, match=r"a\.recordio, in the records starting at 0: record 0 is not a"):
        convert(str(tmp_path / "a.recordio"), str(tmp_path / "a.parquet"))


def test_an_output_that_exists_is_left_alone_unless_told_otherwise(tmp_path):
    tfrecord.write_file(str(tmp_path / "a.tfrecord"), [b"x"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with pytest.raises(OptionError, match=r"output: .*/out exists"):
        convert(str(tmp_path / "a.tfrecord"), str(tmp_path / "out"))
    convert(str(tmp_path / "a.tfrecord"), str(tmp_path / "out"), overwrite=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["data-00000.recordio"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tfrecord", "out"]


# ------------------------------------------------------------------ prepare_data_for_a_single_file


@pytest.mark.parametrize("processes", [1, 2])
def test_files_of_any_kind_go_through_the_users_function(tmp_path, zoo, processes):
    run, module = zoo
    seen = []
    result = run(
        str(tmp_path / "out.tfrecord"), prepare=module, num_processes=processes, progress=lambda *at: seen.append(at)
    )
    assert (result.records, result.source_files) == (3, 3)
    assert read_bytes(tmp_path / "out.tfrecord") == [b"A1\nA2\n", b"B1\nB2\n", b"C1\nC2\n"]
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_a_function_may_make_several_records_and_be_given_as_itself(tmp_path, zoo):
    run, module = zoo
    run(str(tmp_path / "a.recordio"), prepare=f"{module}.lines")
    run(str(tmp_path / "b.recordio"), prepare=lambda path: [path[-5:].encode()])
    assert read_bytes(tmp_path / "a.recordio") == [b"a1", b"a2", b"b1", b"b2", b"c1", b"c2"]
    assert read_bytes(tmp_path / "b.recordio") == [b"a.dat", b"b.dat", b"c.dat"]


def test_prepared_records_may_go_into_several_files(tmp_path, zoo):
    run, module = zoo
    run(str(tmp_path / "a"), prepare=f"{module}.lines", records_per_file=4)
    run(str(tmp_path / "b"), prepare=f"{module}.lines", num_files=2)
    assert [file.records for name in "ab" for file in open_reader([str(tmp_path / name)], {}).files()] == [4, 2, 4, 2]


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(
    ("function", "problem"),
    [("failing", "failed: ValueError: no such colour"), ("not_bytes", "returned int; expected a serialized record")],
)
def test_what_goes_wrong_with_a_file_names_it_and_leaves_nothing(tmp_path, zoo, function, problem, processes):
    run, module = zoo
    with pytest.raises(DataError, match=rf"/raw/[ab]\.dat: prepare_data_for_a_single_file {problem}"):
        run(str(tmp_path / "out"), prepare=f"{module}.{function}", num_processes=processes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw", "zoo"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nosuch", "prepare: there is no module 'nosuch' in "),
        ("{}.line", "prepare: module {} has no function line. Did you mean 'lines'"),
        ("{}_broken", "prepare: module {}_broken of .* needs surely_not_installed, which is not installed"),
        (17, "prepare: expected a function or its dotted name, not 17"),
    ],
)
@pytest.mark.parametrize("processes", [1, 2])
def test_a_function_that_cannot_be_had_is_an_option_error(tmp_path, zoo, name, problem, processes):
    run, module = zoo
    name = name.format(module) if isinstance(name, str) else name
    with pytest.raises(OptionError, match=problem.format(module, module)):
        run(str(tmp_path / "out"), prepare=name, num_processes=processes)


def test_wrong_options_are_refused(tmp_path, zoo):
    run, module = zoo
    with pytest.raises(OptionError, match=r"to: 'recordoi' is not one of .* Did you mean 'recordio'"):
        run(str(tmp_path / "out"), to="recordoi")
    with pytest.raises(OptionError, match="to: parquet has columns, but prepared records are bytes"):
        run(str(tmp_path / "out.parquet"), prepare=module)
    with pytest.raises(OptionError, match="num_files: given together with records_per_file"):
        run(str(tmp_path / "out"), prepare=module, num_files=1, records_per_file=1)
    with pytest.raises(OptionError, match="model_zoo: there is no directory"):
        convert(str(tmp_path / "raw"), str(tmp_path / "out"), prepare=module, zoo=str(tmp_path / "nowhere"))
    with pytest.raises(OptionError, match="source: no file matches"):
        convert(str(tmp_path / "*.csv"), str(tmp_path / "out.recordio"))
