import csv
import gzip

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elasticdl_nb.runtime.data import csvfiles, csvtypes
from elasticdl_nb.runtime.data.reader import open_reader
from elasticdl_nb.runtime.errors import DataError, OptionError

IRIS = ["sepal.length", "sepal.width", "variety"]


def write(path, text, encoding="utf8"):
    path.write_bytes(text.encode(encoding))
    return str(path)


def rows(path, start=0, end=None, **params):
    reader = open_reader([str(path)], params)
    reader.check()
    end = reader.files()[0].records if end is None else end
    found = []
    for batch in reader.read(str(path), start, end):
        found += [tuple(row.values()) for row in batch.to_pylist()]
    return found


# ------------------------------------------------------------------ headers


def test_the_header_names_the_columns(tmp_path):
    path = write(tmp_path / "a.csv", "x,y\n1,2\n3,4\n")
    reader = open_reader([path], {})
    assert reader.form == "strings"
    assert reader.metadata.column_names == ["x", "y"]
    assert reader.metadata.column_dtypes == {"x": "string", "y": "string"}
    assert rows(path) == [("1", "2"), ("3", "4")]


def test_columns_select_and_order_by_the_header(tmp_path):
    path = write(tmp_path / "a.csv", '"sepal.length","petal","variety","sepal.width"\n5.1,0,Setosa,3.5\n')
    assert rows(path, columns=IRIS) == [("5.1", "3.5", "Setosa")]


def test_columns_name_the_fields_of_a_file_without_a_header(tmp_path):
    path = write(tmp_path / "a.csv", "5.1,3.5,Setosa\n4.9,3,Virginica\n")
    assert rows(path, columns=IRIS) == [("5.1", "3.5", "Setosa"), ("4.9", "3", "Virginica")]


def test_header_can_be_forced_either_way(tmp_path):
    path = write(tmp_path / "a.csv", "x,y\n1,2\n")
    assert rows(path, columns=["x", "y"], header=False) == [("x", "y"), ("1", "2")]
    with pytest.raises(DataError, match="there is no column 'a'"):
        rows(path, columns=["a", "b"], header=True)
    with pytest.raises(OptionError, match=r"data_reader_params: header=False requires columns"):
        rows(path, header=False)


def test_each_file_may_have_its_own_order_of_columns(tmp_path):
    write(tmp_path / "a.csv", "x,y\n1,2\n")
    write(tmp_path / "b.csv", "y,x\n2,1\n")
    reader = open_reader([str(tmp_path)], {})
    assert [next(reader.read(file.path, 0, 1)).to_pylist() for file in reader.files()] == [[{"x": "1", "y": "2"}]] * 2


@pytest.mark.parametrize("wanted", [["sepal.length", "sepal.widht"], ["Sepal_Length", "Sepal_Width"]])
def test_a_missing_column_is_named_with_the_file_and_what_is_there(tmp_path, wanted):
    path = write(tmp_path / "iris.csv", "sepal.length,sepal.width\n1,2\n")
    with pytest.raises(DataError) as caught:
        open_reader([path], {"columns": wanted}).check()
    assert f"{path}: there is no column '{next(name for name in wanted if name != 'sepal.length')}'" in str(
        caught.value
    )
    assert "'sepal.length', 'sepal.width'" in str(caught.value)


def test_the_wrong_number_of_columns_is_an_error_before_anything_is_read(tmp_path):
    path = write(tmp_path / "a.csv", "1,2,3\n4,5,6\n")
    with pytest.raises(DataError, match=r"a row has 3 columns, but columns names 2.*'1', '2', '3'"):
        open_reader([path], {"columns": ["x", "y"]}).check()


def test_a_name_that_stands_twice_in_the_header_is_refused_if_wanted(tmp_path):
    path = write(tmp_path / "a.csv", "x,x,y\n1,2,3\n")
    with pytest.raises(DataError, match="column 'x' more than once"):
        open_reader([path], {}).check()
    assert rows(path, columns=["y"]) == [("3",)]


@pytest.mark.parametrize("text", ["", "\n\n", "x,y\n"])
def test_files_without_a_record_are_refused(tmp_path, text):
    path = write(tmp_path / "a.csv", text)
    with pytest.raises(DataError, match=r"empty|no records"):
        open_reader([path], {}).check()


# ------------------------------------------------------------------ text


def test_quotes_hold_separators_newlines_and_quotes(tmp_path):
    text = 'x,"the\nname"\n"a,b","c\n""d"""\n\n5" pipe,"e"\n'
    path = write(tmp_path / "a.csv", text)
    assert open_reader([path], {}).metadata.column_names == ["x", "the\nname"]
    assert rows(path) == [("a,b", 'c\n"d"'), ('5" pipe', "e")]


def test_separators_encodings_and_byte_order_marks(tmp_path):
    assert rows(write(tmp_path / "a.csv", "x;y\n1;2\n"), sep=";") == [("1", "2")]
    assert rows(write(tmp_path / "a.tsv", "x\ty\n1\t2\n")) == [("1", "2")]
    assert rows(write(tmp_path / "b.csv", "x\nblåbær\n", "utf-8-sig")) == [("blåbær",)]
    path = write(tmp_path / "c.csv", "x\nblåbær\n", "latin-1")
    assert rows(path, encoding="latin-1") == [("blåbær",)]
    with pytest.raises(DataError, match="the text is not utf8; give its encoding"):
        rows(path)


def test_a_row_of_another_length_is_named(tmp_path):
    path = write(tmp_path / "a.csv", "x,y\n" + "1,2\n" * 5000 + "1,2,3\n")
    with pytest.raises(DataError, match=r"a\.csv: record 5000 has 3 columns where 2 were expected: '1,2,3'"):
        rows(path)


def test_values_that_look_missing_stay_what_they_are(tmp_path):
    assert rows(write(tmp_path / "a.csv", "x,y\nNA,\nnull,nan\n")) == [("NA", ""), ("null", "nan")]


texts = st.text(st.sampled_from('aé,"\n x1'), max_size=5)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=30), st.booleans(), st.booleans(), st.data())
def test_any_rows_are_read_back_from_anywhere(tmp_path, monkeypatch, records, header, packed, data):
    monkeypatch.setattr(csvfiles, "GROUP_ROWS", 4)
    monkeypatch.setattr(csvfiles, "_BLOCK", 16)
    path = tmp_path / ("a.csv.gz" if packed else "a.csv")
    with (gzip.open if packed else open)(path, "wt", newline="", encoding="utf8") as file:
        writer = csv.writer(file)
        writer.writerows([("first", "second")] * header + records)
    start = data.draw(st.integers(0, len(records)))
    end = data.draw(st.integers(start, len(records)))
    params = {"columns": ["first", "second"], "header": header}
    assert rows(path, **params) == records
    assert rows(path, start, end, **params) == records[start:end]
    fresh = open_reader([str(path)], params)  # has counted nothing
    batches = [batch.to_pylist() for batch in fresh.read(str(path), start, end)]
    assert [tuple(row.values()) for batch in batches for row in batch] == records[start:end]


def test_reading_from_a_row_on_parses_nothing_before_it(tmp_path):
    path = write(tmp_path / "a.csv", "x,y\n" + "1\n" * 10 + "1,2\n" * 20000)
    reader = open_reader([path], {})
    assert sum(len(batch) for batch in reader.read(path, 15000, 15100)) == 100
    with pytest.raises(DataError, match="record 0 has 1 columns"):
        next(reader.read(path, 0, 1))


def test_damaged_gzip_is_named(tmp_path):
    content = gzip.compress(b"x,y\n" + b"1,2\n" * 1000)
    (tmp_path / "a.csv.gz").write_bytes(content[:-10])
    with pytest.raises(DataError, match=r"a\.csv\.gz: damaged gzip data"):
        open_reader([str(tmp_path / "a.csv.gz")], {}).check()


# ------------------------------------------------------------------ types


def test_types_suit_all_values_of_all_files(tmp_path):
    write(tmp_path / "a.csv", "i,f,b,s,n,t\n" + "1,2,true,3,4,2024-01-01\n" * 5000 + "1,2,true,3,,2024-01-01\n")
    write(tmp_path / "b.csv", "i,f,b,s,n,t\n2,2.5,false,x,5,2024-01-02 00:00:01\n")
    reader = open_reader([str(tmp_path)], {"typed": True})
    assert reader.form == "columns"
    assert reader.metadata.column_dtypes == {
        "i": "int64", "f": "float64", "b": "bool", "s": "string", "n": "float64", "t": "int64",
    }  # fmt: skip
    first, second = (next(reader.read(file.path, 0, 1)) for file in reader.files())
    assert first.schema == second.schema
    assert first.to_pylist() == [{"i": 1, "f": 2.0, "b": True, "s": "3", "n": 4.0, "t": 1704067200}]
    assert second.to_pylist() == [{"i": 2, "f": 2.5, "b": False, "s": "x", "n": 5.0, "t": 1704153601}]


def test_typed_columns_can_be_chosen(tmp_path):
    path = write(tmp_path / "a.csv", "x,y,z\n1,2,a\n")
    reader = open_reader([path], {"typed": True, "columns": ["z", "x"]})
    assert reader.metadata.column_names == ["z", "x"]
    assert rows(path, typed=True, columns=["z", "x"]) == [("a", 1)]


KINDS = {
    "wide": [str(2**62 + 1), "-9007199254740993", "0"],
    "mixed": ["1", "2.5", "-3"],
    "late": ["7", "8", "text at last"],
    "gaps": ["1", "", "3"],
    "floats": ["1e300", "nan", "-0.0"],
    "flags": ["true", "false", "true"],
    "dates": ["2026-11-29", "1969-12-31", "2000-02-29"],
    "times": ["2026-11-29 11:00:00", "2026-11-29", "1970-01-01T00:00:01"],
    "quoted": ['"a, b"', '"two\nlines"', '"she said ""no"""'],
    "empty": ["", "", ""],
    "accents": ["é", " padded ", "NULL"],
}


@pytest.mark.parametrize("kept", [0, 2_000_000, 1 << 40])
def test_what_was_parsed_to_find_types_is_what_would_be_parsed_with_them(tmp_path, monkeypatch, kept):
    """Groups in which a column seems to be of another type are parsed again, as are those that there is no room for."""
    count = csvfiles.GROUP_ROWS + 5
    paths = []
    for name, values in (("a", 0), ("b", 1), ("c", None)):
        rows = []
        for n in range(count):
            place = (n if n > count - 10 else n % 2) % 3 if values is None else values
            rows.append(",".join(column[place] for column in KINDS.values()))
        paths.append(write(tmp_path / f"{name}.csv", "\n".join([",".join(KINDS), *rows]) + "\n"))
    monkeypatch.setattr(csvtypes, "_PARSED_BYTES", kept)

    def read(reader):
        return [batch for file in reader.files() for batch in reader.read(file.path, 0, file.records)]

    reader = open_reader(paths, {"typed": True})
    assert reader.metadata.column_dtypes == {
        "wide": "int64", "mixed": "float64", "late": "string", "gaps": "float64", "floats": "float64",
        "flags": "bool", "dates": "int64", "times": "int64", "quoted": "string", "empty": "float64",
        "accents": "string",
    }  # fmt: skip
    found = read(reader)
    parsed = [group for file in reader._files.values() for group in file._parsed]
    assert not parsed, "nothing is kept twice"
    for file in reader._files.values():
        file._parsed.clear()
    reader._kept = type(reader._kept)(1)
    again = read(reader)  # parsed with the types
    assert [batch.schema for batch in found] == [batch.schema for batch in again]
    for one, other in zip(found, again, strict=True):
        for name in one.schema.names:
            a, b = one.column(name).to_numpy(zero_copy_only=False), other.column(name).to_numpy(zero_copy_only=False)
            assert a.tobytes() == b.tobytes() if a.dtype != object else a.tolist() == b.tolist()


values = st.sampled_from(
    ["", "0", "1", "-7", "true", "false", "2.5", "nan", "inf", "1e300", "NA", "x", "é", " 1", '"a\n,"', "12:30:00"]
    + ["2026-11-29", "2026-11-29 10:00:00", "2026-11-29 10:00:00.5", "2026-11-29T10:00:00Z"]
    + [str(n) for n in (2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63, 2**64)]
)
columns = st.lists(values, min_size=1, max_size=4, unique=True).flatmap(
    lambda few: st.lists(st.sampled_from(few), min_size=40, max_size=40)
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(columns, min_size=1, max_size=4), st.integers(1, 40))
def test_types_and_values_are_the_same_however_many_groups_are_parsed_at_once(tmp_path, monkeypatch, found, cut):
    """Group by group is what parsing several at once is measured by."""
    monkeypatch.setattr(csvfiles, "GROUP_ROWS", 4)
    monkeypatch.setattr(csvfiles, "_BLOCK", 64)
    names = [f"c{n}" for n in range(len(found))]
    lines = [",".join(row) for row in zip(*found, strict=True)]
    paths = [
        write(tmp_path / f"{name}.csv", "\n".join([",".join(names), *part]) + "\n")
        for name, part in (("a", lines[:cut]), ("b", lines[cut:]))
    ]

    def outcome(at_once):
        monkeypatch.setattr(csvtypes, "_AT_ONCE", at_once)
        reader = open_reader(paths, {"typed": True})
        try:
            metadata = reader.metadata
            batches = [batch for file in reader.files() for batch in reader.read(file.path, 0, file.records)]
        except DataError as error:
            return str(error)
        files = reader._files.values()
        nulls = [{name for name in file.nulls if file.types[name] != pa.string()} for file in files]
        return metadata, [file.types for file in files], nulls, repr([batch.to_pylist() for batch in batches])

    alone = outcome(1)
    assert outcome(3) == alone
    assert outcome(16) == alone


def test_whole_numbers_that_would_lose_digits_are_refused_unless_the_column_is_of_another_type(tmp_path):
    large = "18446744073709551615"
    first = write(tmp_path / "a.csv", f"id,f,s\n{large},1e300,{large}\n1,2,\n")
    second = write(tmp_path / "b.csv", "id,f,s\n7,2.5,x\n")
    with pytest.raises(DataError, match=r"a\.csv: column 'id' has whole numbers of 2\*\*63 or more, which lose digits"):
        assert open_reader([first, second], {"typed": True}).metadata
    assert rows(first, typed=True, columns=["f"]) == [(1e300,), (2.0,)]
    reader = open_reader([first, second], {"typed": True, "columns": ["f", "s"]})
    assert reader.metadata.column_dtypes == {"f": "float64", "s": "string"}
    assert next(reader.read(first, 0, 2)).to_pylist() == [{"f": 1e300, "s": large}, {"f": 2.0, "s": ""}]


def test_a_typed_file_that_was_changed_after_it_was_parsed_is_refused(tmp_path):
    path = write(tmp_path / "a.csv", "x\n1\n2\n")
    reader = open_reader([path], {"typed": True})
    assert reader.metadata.column_dtypes == {"x": "int64"}
    write(tmp_path / "a.csv", "x\n1\n2\n3\n")
    with pytest.raises(DataError, match="was changed after the job had listed its files"):
        list(reader.read(path, 0, 2))
