"""Readers against TensorFlow itself."""

import itertools
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elasticdl_nb.runtime.data import examples, files, recordio, tfrecord
from elasticdl_nb.runtime.data.reader import open_reader
from elasticdl_nb.runtime.errors import DataError

tf = pytest.importorskip("tensorflow")
tensors = pytest.importorskip("elasticdl_nb.runtime.data.tensors")

RECORDS = [b"record %d\0" % n * (n % 9) for n in range(3000)]


@pytest.fixture
def path(tmp_path):
    recordio.write_file(str(tmp_path / "a.recordio"), RECORDS, chunk_bytes=4000)
    return str(tmp_path / "a.recordio")


def flat(dataset):
    return [record for chunk in dataset for record in chunk.numpy().tolist()]


def test_each_iteration_takes_the_next_ranges(path):
    plans = iter([[(path, 0, 10)], [(path, 2500, 3000), (path, 5, 7)], []])
    dataset = tensors.record_dataset(open_reader([path], {}), lambda: next(plans))
    assert dataset.element_spec == tf.TensorSpec([None], tf.string)
    assert flat(dataset) == RECORDS[:10]
    assert flat(dataset) == RECORDS[2500:] + RECORDS[5:7]
    assert flat(dataset) == []


@pytest.mark.parametrize("at_once", [1, 64, 700, 3000, 5000])
def test_records_come_by_so_many_as_they_are_wanted(path, at_once):
    ranges = [(path, 5, 2000), (path, 0, 5), (path, 2000, 3000)]
    dataset = tensors.record_dataset(open_reader([path], {}), lambda: ranges, at_once)
    found = [chunk.numpy().tolist() for chunk in dataset]
    assert [*map(len, found)] == [at_once] * (3000 // at_once) + ([3000 % at_once] if 3000 % at_once else [])
    assert [*itertools.chain(*found)] == RECORDS[5:2000] + RECORDS[:5] + RECORDS[2000:]


def test_a_pipeline_built_on_it_is_iterated_anew_each_time(path):
    starts = itertools.count(0, 1000)

    def ranges():
        start = next(starts)
        return [(path, start, start + 1000)]

    dataset = tensors.record_dataset(open_reader([path], {}), ranges)
    lengths = dataset.unbatch().map(tf.strings.length).shuffle(100).batch(64).prefetch(2)
    for start in (0, 1000, 2000):
        found = np.concatenate([batch.numpy() for batch in lengths])
        assert sorted(found) == sorted(map(len, RECORDS[start : start + 1000]))


def test_two_iterations_at_once_do_not_mix(path):
    plans = iter([[(path, 0, 1500)], [(path, 1500, 3000)]])
    dataset = tensors.record_dataset(open_reader([path], {}), lambda: next(plans))
    first, second = iter(dataset), iter(dataset)
    found = [[], []]
    for pair in itertools.zip_longest(first, second):
        for records, chunk in zip(found, pair, strict=True):
            records += [] if chunk is None else chunk.numpy().tolist()
    assert found == [RECORDS[:1500], RECORDS[1500:]]


def test_iterations_in_many_threads_do_not_mix(path):
    lock, starts, found = threading.Lock(), itertools.count(0, 300), []
    dataset = tensors.record_dataset(open_reader([path], {}), lambda: [(path, (s := next(starts)), s + 300)])

    def work():
        records = flat(dataset)
        with lock:
            found.append(records)

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(RECORDS[start : start + 300] for start in range(0, 3000, 300))


def test_iterations_given_up_are_forgotten_in_time(path):
    dataset = tensors.record_dataset(open_reader([path], {}), lambda: [(path, 0, 3000)])
    forgotten = iter(dataset)
    next(forgotten)
    for _ in range(100):
        next(iter(dataset))
    assert flat(dataset) == RECORDS
    with pytest.raises(tf.errors.OpError, match="left unused"):  # rather than an early end
        list(forgotten)


def test_an_iteration_stays_at_its_end(path):
    iterator = iter(tensors.record_dataset(open_reader([path], {}), lambda: [(path, 0, 1)]))
    assert [next(iterator, None) is None for _ in range(4)] == [False, True, True, True]


def test_the_readers_error_comes_back_as_it_was(path):
    content = bytearray(Path(path).read_bytes())
    content[-1] ^= 1
    Path(path).write_bytes(content)
    dataset = tensors.record_dataset(open_reader([path], {}), lambda: [(path, 0, 3000)])
    with pytest.raises(tf.errors.OpError) as caught:
        flat(dataset.unbatch().map(tf.strings.length).batch(10).prefetch(1))
    original = tensors.original_error(caught.value)
    assert isinstance(original, DataError)
    assert "a.recordio: corrupt RecordIO chunk" in str(original)
    assert str(original) in str(caught.value)


@pytest.mark.parametrize("compressor", recordio.COMPRESSORS)
def test_every_chunk_before_a_bad_one_comes_first_and_none_after_it(tmp_path, compressor):
    path = str(tmp_path / "a.recordio")
    recordio.write_file(path, RECORDS, chunk_bytes=1000, compressor=compressor)
    reader = open_reader([path], {})
    for ranges, problem in (([(path, 0, 3000)], "chunk 5 "), ([(path, 0, 7), ("gone", 0, 1)], "gone is not one of")):
        good = 7
        if "chunk" in problem:
            bad = recordio.Index(files.Source(path)).extend()[5]
            content = bytearray(Path(path).read_bytes())
            content[bad.end - 1] ^= 1
            Path(path).write_bytes(content)
            reader, good = open_reader([path], {}), bad.first
        found, dataset = [], tensors.record_dataset(reader, lambda ranges=ranges: ranges)
        with pytest.raises(tf.errors.OpError, match=problem):
            for chunk in dataset:
                found += chunk.numpy().tolist()
        assert found == RECORDS[:good]


def test_an_error_of_next_ranges_comes_back_as_it_was(path):
    def ranges():
        raise KeyError("the master is gone")

    with pytest.raises(tf.errors.OpError) as caught:
        flat(tensors.record_dataset(open_reader([path], {}), ranges))
    assert isinstance(tensors.original_error(caught.value), KeyError)
    other = ValueError("something else")
    assert tensors.original_error(other) is other


def test_csv_rows_are_vectors_of_strings(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('x,y\n1,"ü\n"\n2,b\n')
    reader = open_reader([str(path)], {"columns": ["y", "x"]})
    dataset = tensors.record_dataset(reader, lambda: [(str(path), 0, 2)])
    assert dataset.element_spec == tf.TensorSpec([None, 2], tf.string)
    assert flat(dataset) == [["ü\n".encode(), b"1"], [b"b", b"2"]]


def test_columns_are_tensors_by_name(tmp_path):
    path = str(tmp_path / "t.parquet")
    table = pa.table(
        {
            "z": [1, 2, 3],
            "a": ["x", None, "y"],
            "v": [[0.5, 1], [2, 3], [4, 5]],
            "b": [True, False, True],
            "n": [1, None, 3],
        }
    )
    pq.write_table(table, path)
    dataset = tensors.record_dataset(open_reader([path], {}), lambda: [(path, 1, 3)])
    assert dataset.element_spec["v"] == tf.TensorSpec([None, 2], tf.float64)
    (batch,) = dataset
    assert {name: (tensor.dtype.name, tensor.numpy().tolist()) for name, tensor in batch.items() if name != "n"} == {
        "z": ("int64", [2, 3]),
        "a": ("string", [b"", b"y"]),
        "v": ("float64", [[2, 3], [4, 5]]),
        "b": ("bool", [False, True]),
    }
    np.testing.assert_array_equal(batch["n"].numpy(), [np.nan, 3])


def test_tfrecord_files_are_the_same_to_tensorflow_and_to_us(tmp_path):
    ours, theirs = str(tmp_path / "a.tfrecord"), str(tmp_path / "b.tfrecord")
    tfrecord.write_file(ours, RECORDS)
    with tf.io.TFRecordWriter(theirs) as writer:
        for record in RECORDS:
            writer.write(record)
    assert Path(ours).read_bytes() == Path(theirs).read_bytes()
    dataset = tensors.record_dataset(open_reader([theirs], {}), lambda: [(theirs, 0, 3000)])
    assert flat(dataset) == RECORDS


def test_examples_are_the_same_to_tensorflow_and_to_us():
    (record,) = examples.encode(
        {"i": np.array([-1]), "f": np.array([[0.5, 2]]), "s": np.array([b"\xff"], object), "b": np.array([True])}
    )
    parsed = tf.io.parse_single_example(
        record,
        {
            "i": tf.io.FixedLenFeature([], tf.int64), "f": tf.io.FixedLenFeature([2], tf.float32),
            "s": tf.io.FixedLenFeature([], tf.string), "b": tf.io.FixedLenFeature([1], tf.int64),
        },
    )  # fmt: skip
    assert {name: np.asarray(tensor.numpy()).tolist() for name, tensor in parsed.items()} == {
        "i": -1, "f": [0.5, 2.0], "s": b"\xff", "b": [1],
    }  # fmt: skip
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=[1, 2]))
    theirs = tf.train.Example(features=tf.train.Features(feature={"x": feature})).SerializeToString()
    assert examples.decode([theirs])["x"].to_pylist() == [[1.0, 2.0]]


def test_what_the_users_functions_do_with_tensors_leaves_the_data_as_it_is(tmp_path):
    path = str(tmp_path / "numbers.parquet")
    pq.write_table(pa.table({"x": np.arange(20_000, dtype=np.int64)}), path)
    reader = open_reader([path], {})
    dataset = tensors.record_dataset(reader, lambda: [(path, 0, 20_000)]).rebatch(4096)
    dataset = dataset.map(lambda row: (row["x"] + 1) * 1_000_003 % 12, num_parallel_calls=2)
    expected = (np.arange(20_000) + 1) * 1_000_003 % 12
    for _ in range(4):
        assert np.array_equal(np.concatenate([part.numpy() for part in dataset]), expected)
