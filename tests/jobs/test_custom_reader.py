"""Jobs whose records come from a database, through the model's own custom_data_reader."""

from __future__ import annotations

import sqlite3

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import elasticdl_nb
from elasticdl_nb.runtime.data import recordio
from elasticdl_nb.runtime.errors import JobFailed

CODE = """
import sqlite3
import keras
import tensorflow as tf
from elasticdl.python.data.reader.data_reader import AbstractDataReader, Metadata
from elasticdl_nb import Mode


def custom_model():
    inputs = keras.Input((2,))
    return keras.Model(inputs, keras.layers.Dense(1)(inputs))


def dataset_fn(dataset, mode, metadata):
    assert metadata.column_names == ["a", "b", "y"]

    def parse(row):
        values = tf.strings.to_number(row)
        return values[:2] if mode == Mode.PREDICTION else (values[:2], values[2:])

    return dataset.map(parse)


def loss(labels, output):
    return tf.reduce_mean(tf.square(output - labels))


def optimizer(lr=0.1):
    return keras.optimizers.SGD(lr)


class TableReader(AbstractDataReader):
    metadata = Metadata(["a", "b", "y"])
    records_output_types = tf.string

    def __init__(self, table, database, where):
        self.table, self.where = table, where
        self.connection = sqlite3.connect(database)  # may be used by this thread only

    def create_shards(self):
        (first, count), = self.connection.execute(f"SELECT min(id), count(*) FROM {self.table}")
        half = count // 2
        return {self.table + ":0": (first, half), self.table + ":1": (first + half, count - half)}

    def read_records(self, task):
        rows = self.connection.execute(
            f"SELECT a, b, y FROM {self.table} WHERE id >= ? AND id < ? AND {self.where} ORDER BY id",
            (task.start, task.end),
        )
        for row in rows:
            yield [str(value) for value in row]


def custom_data_reader(data_origin, records_per_task=None, **kwargs):
    assert records_per_task == 32 * 16
    return TableReader(data_origin, kwargs["database"], kwargs.get("where", "true"))
"""
ROWS = 1300
FIRST = 1000
"""Number of the tables' first row."""


@pytest.fixture
def options(tmp_path, monkeypatch):
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "linear.py").write_text(CODE)
    source = np.random.default_rng(0)
    with sqlite3.connect(tmp_path / "rows.db") as connection:
        for table, rows in (("observed", ROWS), ("held_out", 200)):
            frame = pd.DataFrame(source.random((rows, 2)), columns=["a", "b"], index=range(FIRST, FIRST + rows))
            frame.assign(y=frame.a + 2 * frame.b).to_sql(table, connection, index_label="id")
    connection.close()
    monkeypatch.chdir(tmp_path)
    return {"minibatch_size": 16, "data_reader_params": {"database": str(tmp_path / "rows.db")}}


def train(options, **more):
    return elasticdl_nb.train(
        model_zoo="zoo", model_def="linear", data="observed", saved_model=False, wait=True, **{**options, **more}
    )


def test_a_table_is_trained_on_evaluated_and_predicted_in_the_order_of_its_rows(tmp_path, options):
    # The output has the table's name, which is no path.
    trained = train(options, validation_data="held_out", num_epochs=4, params="lr=0.3", output="observed")
    status = trained.status()
    assert (status.records_total, status.records_done) == (4 * ROWS, 4 * ROWS)
    assert trained.metrics["loss"] < 0.01

    (tmp_path / "zoo" / "linear.py").unlink()
    evaluated = elasticdl_nb.evaluate(
        trained_model=trained.output, data="held_out", wait=True, num_workers=2, **options
    )
    assert evaluated.metrics["loss"] == pytest.approx(trained.metrics["loss"], rel=1e-3)

    predicted = elasticdl_nb.predict(
        trained_model=trained.output, data="observed", output="predicted.recordio", wait=True, **options
    )
    with sqlite3.connect(tmp_path / "rows.db") as connection:
        expected = pd.read_sql("SELECT y FROM observed ORDER BY id", connection).y
    connection.close()
    feature = {"prediction": tf.io.FixedLenFeature([1], tf.float32)}
    given = tf.io.parse_example(list(recordio.read_file(predicted.output)), feature)["prediction"].numpy()[:, 0]
    assert len(given) == ROWS
    assert np.abs(given - expected).max() < 0.5
    assert np.corrcoef(given, expected)[0, 1] > 0.99


def test_a_reader_that_drops_records_fails_the_job_with_the_shards_name(options):
    options["data_reader_params"]["where"] = "id != 1001"
    with pytest.raises(JobFailed, match=r"linear\.custom_data_reader.* of 'observed:0' from 1000 to .* yielded only"):
        train(options)
