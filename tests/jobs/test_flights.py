"""The flights model on real flights: a job learns what plain Keras learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pandas as pd
import pytest
import tensorflow as tf

import elasticdl_nb
from elasticdl_nb.model_zoo.flights import wide_and_deep
from elasticdl_nb.model_zoo.flights.prepare import flights

BATCH = 256
TRAINED, HELD_BACK = 60_000, 20_000


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("flights")
    table = flights()
    table[:TRAINED].to_parquet(folder / "train.parquet", index=False)
    table[TRAINED : TRAINED + HELD_BACK].to_parquet(folder / "test.parquet", index=False)
    return folder / "train.parquet", folder / "test.parquet"


def batches(path: Path) -> Any:
    columns = {name: column.to_numpy() for name, column in pd.read_parquet(path).items()}
    columns = {name: column.astype(str) if column.dtype == object else column for name, column in columns.items()}
    data = tf.data.Dataset.from_tensor_slices(columns).batch(BATCH)
    return data.map(lambda columns: wide_and_deep.input_fn(columns, "training"))


def test_a_local_job_reaches_the_metrics_of_model_fit(tables, tmp_path):
    train, test = tables
    job = elasticdl_nb.train(
        model_def="flights.wide_and_deep", input_fn="input_fn", data=train, validation_data=test, shuffle=False,
        minibatch_size=BATCH, num_epochs=2, output=tmp_path / "model", saved_model=False, wait=False,
    )  # fmt: skip
    keras.utils.set_random_seed(0)
    model = wide_and_deep.custom_model()
    late = [keras.metrics.AUC(from_logits=True, name="auc"), keras.metrics.BinaryAccuracy(threshold=0.0, name="acc")]
    model.compile(wide_and_deep.optimizer(), keras.losses.BinaryCrossentropy(from_logits=True), metrics=late)
    model.fit(batches(train), epochs=2, verbose=0)
    expected = model.evaluate(batches(test), return_dict=True, verbose=0)
    job.wait()
    assert job.status().records_done == 2 * TRAINED
    assert job.evaluations[-1].records == HELD_BACK
    assert expected["auc"] > 0.65
    assert job.metrics["auc"] == pytest.approx(expected["auc"], abs=0.01)
    assert job.metrics["accuracy"] == pytest.approx(expected["acc"], abs=0.01)
