"""Batches of columns that were mixed and chosen where they are read are those of a dataset that does it later."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from elasticdl_nb.runtime.data.reader import open_reader
from elasticdl_nb.runtime.data.tensors import record_dataset
from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.runtime.model.contract import batched
from elasticdl_nb.runtime.model.loading.inputs import make_batches, taken_at_once
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.worker import feed

RECORDS, BATCH, TASK = 1000, 16, 320


@pytest.fixture
def path(tmp_path):
    random = np.random.default_rng(0)
    columns = {
        "a": random.normal(size=RECORDS), "b": random.integers(0, 9, RECORDS), "c": random.random(RECORDS) < 0.5,
        "few": np.array(["x", "yy", "zzz"])[random.integers(0, 3, RECORDS)], "own": [f"n{n}" for n in range(RECORDS)],
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=170)
    return str(tmp_path / "a.parquet")


def one(columns):
    return columns["a"], columns["b"]


def all_of_them(columns):
    numbers = [tf.cast(columns[name], tf.float64) for name in columns if columns[name].dtype != tf.string]
    return tf.stack(numbers, axis=1), columns["few"]


def unpacked(columns):
    return (lambda a, b, **others: ({"a": a, **others}, b))(**columns)


def in_python(columns):
    texts = tf.numpy_function(lambda few, own: few + own, [columns["few"], columns["own"]], tf.string)
    return tf.ensure_shape(texts, [None]), columns["c"]


def in_a_branch(columns):
    return tf.cond(tf.reduce_sum(columns["b"]) % 2 == 0, lambda: columns["a"], lambda: -columns["a"]), columns["c"]


def only_its_size(columns):
    return tf.zeros(tf.shape(columns["own"])[0]), columns["b"]


def at_random(columns):
    return columns["a"] + tf.random.uniform(tf.shape(columns["a"]), dtype=tf.float64), columns["b"]


READ = {
    one: {"a", "b"}, all_of_them: {"a", "b", "c", "few"}, unpacked: {"a", "b", "c", "few", "own"},
    in_python: {"c", "few", "own"}, in_a_branch: {"a", "b", "c"}, only_its_size: {"b", "own"}, at_random: {"a", "b"},
}  # fmt: skip


def batches(path, function, *, early, seed=7):
    """The batches of tasks, mixed before they are tensors or afterwards; and the columns that were read."""
    tf.keras.utils.set_random_seed(1)
    reader = open_reader([path], {})
    datasets = []

    def make(chunks, number):
        datasets.append(chunks)
        return make_batches(
            chunks, Mode.TRAINING, reader.metadata, input_fn=batched(function), dataset_fn=None, root="",
            batch_size=BATCH, shuffle_seed=None if early else seed, task_records=TASK, number=number,
        )  # fmt: skip

    at_once = taken_at_once(batched(function), None, BATCH, TASK)
    mixing = (seed, TASK) if early and seed is not None else None
    source = feed.StreamSource(reader, make, at_once if early else None, mixing)
    tasks = [(0, 0, 300), (1, 300, 620), (2, 620, 1000)]
    for index, start, end in tasks:
        source.announce(pb.Task(index=index, epoch=3, ranges=[pb.Range(path=path, start=start, end=end)]))
    found = [tf.nest.map_structure(lambda tensor: tensor.numpy(), batch) for _ in tasks for batch in source.batches()]
    source.close()
    return found, datasets[0]._elasticdl_iterations.wanted


@pytest.mark.parametrize("function", READ, ids=lambda function: function.__name__)
@pytest.mark.parametrize("seed", [7, None])
def test_batches_are_the_same_bit_for_bit(path, function, seed):
    early, read = batches(path, function, early=True, seed=seed)
    late, _ = batches(path, function, early=False, seed=seed)
    assert read == READ[function]
    assert len(early) == len(late) == 19 + 20 + 24
    for one, other in zip(early, late, strict=True):
        for array, expected in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
            assert array.dtype == expected.dtype
            assert array.tolist() == expected.tolist()


def test_a_dataset_that_is_not_ours_is_left_alone():
    chunks = tf.data.Dataset.from_tensors({"a": tf.range(4), "b": tf.range(4)})
    made = make_batches(
        chunks, Mode.TRAINING, None, input_fn=batched(lambda columns: (columns["a"], columns["a"])), dataset_fn=None,
        root="", batch_size=2, shuffle_seed=None, task_records=4,
    )  # fmt: skip
    assert [batch[0].numpy().tolist() for batch in made] == [[0, 1], [2, 3]]


def test_columns_come_by_so_many_as_they_are_wanted(path):
    dataset = record_dataset(open_reader([path], {}), lambda: [(path, 5, 1000), (path, 0, 5)], 64)
    assert [len(chunk["a"]) for chunk in dataset] == [64] * 15 + [40]
    texts = [text for chunk in dataset for text in chunk["own"].numpy().tolist()]
    assert texts == [b"n%d" % (n % 1000) for n in range(5, 1005)]
