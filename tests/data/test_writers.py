import numpy as np
import pyarrow.parquet as pq
import pytest

from elasticdl_nb.runtime.data import examples, recordio
from elasticdl_nb.runtime.data.writers import OUTPUT_FORMS, concatenate, open_writer

COLUMNS = {
    "id": np.arange(4),
    "score": np.array([0.5, 1.5, 2.5, 3.5], np.float32),
    "classes": np.arange(12, dtype=np.float32).reshape(4, 3),
    "name": np.array([b"a", b"b,c", b'"', "é".encode()], object),
}
CSV = (
    '"id","score","classes_0","classes_1","classes_2","name"\n'
    '0,0.5,0,1,2,"a"\n1,1.5,3,4,5,"b,c"\n2,2.5,6,7,8,""""\n3,3.5,9,10,11,"é"\n'
)


def write(path, form, *batches):
    with open_writer(str(path), form) as writer:
        for start, end in batches:
            writer.write({name: values[start:end] for name, values in COLUMNS.items()})
    return str(path)


def test_parquet_holds_vectors_as_fixed_size_lists(tmp_path):
    table = pq.read_table(write(tmp_path / "a.parquet", "parquet", (0, 3), (3, 4)))
    assert str(table.schema.field("classes").type) == "fixed_size_list<element: float>[3]"
    assert table.column("classes").to_pylist() == COLUMNS["classes"].tolist()
    assert table.column("name").to_pylist() == ["a", "b,c", '"', "é"]
    assert table.column("score").to_pylist() == [0.5, 1.5, 2.5, 3.5]


def test_csv_holds_vectors_as_numbered_columns(tmp_path):
    write(tmp_path / "a.csv", "csv", (0, 3), (3, 4))
    assert (tmp_path / "a.csv").read_text() == CSV


def test_recordio_holds_examples(tmp_path):
    records = list(recordio.read_file(write(tmp_path / "a.recordio", "recordio", (0, 3), (3, 4))))
    feature = examples.Example.FromString(records[1]).features.feature
    assert list(feature["id"].int64_list.value) == [1]
    assert list(feature["classes"].float_list.value) == [3, 4, 5]
    assert list(feature["name"].bytes_list.value) == [b"b,c"]


@pytest.mark.parametrize("form", OUTPUT_FORMS)
def test_parts_joined_are_what_one_writer_would_have_written(tmp_path, form):
    parts = [
        write(tmp_path / "1", form, (0, 3)), write(tmp_path / "2", form), write(tmp_path / "3", form, (3, 4)),
    ]  # fmt: skip
    concatenate(parts, str(tmp_path / "all"), form)
    write(tmp_path / "one", form, (0, 4))
    if form == "csv":
        assert (tmp_path / "all").read_text() == CSV
    elif form == "parquet":
        assert pq.read_table(tmp_path / "all").equals(pq.read_table(tmp_path / "one"))
    else:
        assert [*recordio.read_file(str(tmp_path / "all"))] == [*recordio.read_file(str(tmp_path / "one"))]


def test_parts_of_different_columns_are_not_joined(tmp_path):
    for name in ("a", "b"):
        with open_writer(str(tmp_path / name), "csv") as writer:
            writer.write({name: np.arange(2)})
    with pytest.raises(ValueError, match="its columns differ from"):
        concatenate([str(tmp_path / "a"), str(tmp_path / "b")], str(tmp_path / "all"), "csv")
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize("form", OUTPUT_FORMS)
def test_nothing_appears_before_the_end_nor_after_a_failure(tmp_path, form):
    writer = open_writer(str(tmp_path / "a"), form)
    writer.write(COLUMNS)
    assert not (tmp_path / "a").exists()
    writer.close()
    assert (tmp_path / "a").exists()
    with pytest.raises(KeyError), open_writer(str(tmp_path / "b"), form) as writer:
        writer.write(COLUMNS)
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_columns_of_different_lengths_are_refused(tmp_path):
    with pytest.raises(ValueError, match="different lengths"), open_writer(str(tmp_path / "a"), "csv") as writer:
        writer.write({"a": np.arange(2), "b": np.arange(3)})


def test_examples_are_read_back_as_they_were():
    arrays = examples.decode(examples.encode(COLUMNS))
    kinds = {name: examples.natural_type(array) for name, array in arrays.items()}
    assert {name: str(kind) for name, kind in kinds.items()} == {
        "id": "int64", "score": "float", "classes": "fixed_size_list<item: float>[3]", "name": "string",
    }  # fmt: skip
    for name, array in arrays.items():
        found = examples.convert(array, kinds[name], name).to_pylist()
        expected = [item.decode() if isinstance(item, bytes) else item for item in COLUMNS[name].tolist()]
        assert found == expected
