import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elasticdl_nb.runtime.data import recordio, tfrecord
from elasticdl_nb.runtime.data.reader import FileRecords, open_reader
from elasticdl_nb.runtime.errors import DataError, OptionError


@pytest.fixture
def folder(tmp_path):
    for n, name in enumerate(["b.recordio", "a.recordio", "c.rec"]):
        recordio.write_file(str(tmp_path / name), [b"x"] * (n + 1))
    return tmp_path


def test_files_are_in_the_order_given_and_sorted_within_a_glob(folder):
    reader = open_reader([f"{folder}/c.rec", f"{folder}/*.recordio"], {})
    assert reader.form == "bytes"
    assert reader.metadata.column_names == []
    assert reader.files() == [
        FileRecords(f"{folder}/c.rec", 3),
        FileRecords(f"{folder}/a.recordio", 2),
        FileRecords(f"{folder}/b.recordio", 1),
    ]


def test_of_a_directory_all_data_files_are_read_but_hidden_ones(folder):
    (folder / "deep").mkdir()
    recordio.write_file(str(folder / "deep" / "d.recordio"), [b"x"])
    for name in ("_SUCCESS", ".a.recordio", "_part.recordio", "README.md"):
        (folder / name).write_bytes(b"not data")
    paths = [file.path.removeprefix(f"{folder}/") for file in open_reader([str(folder)], {}).files()]
    assert paths == ["a.recordio", "b.recordio", "c.rec", "deep/d.recordio"]


def test_a_glob_matches_hidden_files_only_if_it_says_so(folder):
    for name in ("_t.recordio", ".t.recordio", "_d/a.recordio", "e/_d/a.recordio", "e/b.recordio"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        recordio.write_file(str(folder / name), [b"x"])
    for glob, found in {
        "*.recordio": ["a.recordio", "b.recordio"],
        "**/*.recordio": ["a.recordio", "b.recordio", "e/b.recordio"],
        "_*.recordio": ["_t.recordio"],
        ".[a-z].recordio": [".t.recordio"],
        "_d/*.recordio": ["_d/a.recordio"],
        "*/_d/*": ["e/_d/a.recordio"],
    }.items():
        files = open_reader([f"{folder}/{glob}"], {}).files()
        assert [file.path.removeprefix(f"{folder}/") for file in files] == found, glob
    with pytest.raises(OptionError, match=r"no file matches .*t\.recordio but hidden ones, whose names begin with"):
        open_reader([f"{folder}/?t.recordio"], {})


def test_relative_paths_and_file_urls_become_absolute(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for path in ("a.recordio", "*a.recordio", f"file://{folder}/a.recordio", f"file://{folder}/*a.recordio"):
        assert [file.path for file in open_reader([path], {}).files()] == [f"{folder}/a.recordio"]


def test_formats_are_told_by_content_where_the_name_does_not(tmp_path):
    recordio.write_file(str(tmp_path / "a"), [b"x"])
    tfrecord.write_file(str(tmp_path / "b"), [b"x", b"y"])
    pq.write_table(pa.table({"x": [1, 2, 3]}), tmp_path / "c")
    assert [open_reader([str(tmp_path / name)], {}).files()[0].records for name in "abc"] == [1, 2, 3]


def test_the_format_parameter_wins(tmp_path):
    tfrecord.write_file(str(tmp_path / "a.recordio"), [b"x", b"y"])
    assert open_reader([str(tmp_path / "a.recordio")], {"format": "tfrecord"}).files()[0].records == 2
    with pytest.raises(DataError, match=r"if the file is of another kind, .*format='tfrecord'"):
        open_reader([str(tmp_path / "a.recordio")], {}).check()


@pytest.mark.parametrize(
    ("paths", "problem"),
    [
        (["{}/*.txt"], "training_data: no file matches {}/*.txt"),
        (["{}/a.recordoi"], "training_data: there is no file {}/a.recordoi Did you mean 'a.recordio'?"),
        (["{}/empty"], "training_data: the directory {}/empty contains no data files"),
        (["{}/a.recordio", "{}/t.csv"], "training_data: files of different formats: {}/a.recordio is recordio"),
        (["{}/what"], "training_data: {}/what: neither its name nor its content shows its format"),
        ([], "training_data: required"),
        (["nosuch://bucket/a"], "training_data: nosuch://bucket/a: "),
    ],
)
def test_what_is_wrong_with_paths_is_said_with_the_option(folder, paths, problem):
    (folder / "empty").mkdir()
    (folder / "t.csv").write_text("x\n1\n")
    (folder / "what").write_bytes(b"what is this?")
    with pytest.raises(OptionError) as caught:
        open_reader([path.format(folder) for path in paths], {}, "training_data")
    assert problem.replace("{}", str(folder)) in str(caught.value).replace(". Did", " Did").replace("  ", " ")


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"format": "cvs"}, "format='cvs' is not valid: expected one of recordio, tfrecord, csv, parquet, arrow. Did"),
        (
            {"colums": ["x"]},
            "colums is not a parameter of csv files; expected format, columns, .* Did you mean 'columns'",
        ),
        ({"columns": "x"}, "columns='x' is not valid: expected a list of names"),
        ({"columns": []}, r"columns=\[\] is not valid"),
        ({"columns": ["x", "x"]}, ".* 'x' appears more than once"),
        ({"sep": ", "}, "sep=', ' is not valid: expected a single ASCII character"),
        ({"header": "yes"}, "header='yes' is not valid: expected True or False"),
        ({"typed": 1}, "typed=1 is not valid"),
        ({"encoding": "utf9"}, "encoding='utf9' is not valid: Python does not know this"),
        ({"encoding": "utf-16"}, "encoding='utf-16' is not valid: expected an encoding that keeps ASCII"),
    ],
)
def test_wrong_parameters_are_refused(tmp_path, params, problem):
    (tmp_path / "t.csv").write_text("x\n1\n")
    with pytest.raises(OptionError, match=f"data_reader_params: {problem}"):
        open_reader([str(tmp_path / "t.csv")], params)


def test_parameters_of_other_formats_are_refused(folder):
    with pytest.raises(OptionError, match="sep is not a parameter of recordio files"):
        open_reader([f"{folder}/a.recordio"], {"sep": ","})


def test_a_corrupt_chunk_is_found_by_check_before_anything_is_read(folder):
    path = folder / "a.recordio"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    reader = open_reader([str(folder)], {})
    assert sum(file.records for file in reader.files()) == 6
    with pytest.raises(DataError, match=r"a\.recordio: corrupt RecordIO chunk 0 .* at byte 0"):
        reader.check()


def test_no_records_at_all_is_an_error(tmp_path):
    recordio.write_file(str(tmp_path / "a.recordio"), [])
    with pytest.raises(DataError, match="there are no records in"):
        open_reader([str(tmp_path / "a.recordio")], {}).check()


def test_a_file_that_vanishes_is_a_data_error(folder):
    reader = open_reader([str(folder / "a.recordio")], {})
    (folder / "a.recordio").unlink()
    with pytest.raises(DataError, match=r"a\.recordio was deleted after the job"):
        reader.files()
