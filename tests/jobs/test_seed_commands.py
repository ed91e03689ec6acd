"""The commands of the seed documents, with only the paths changed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import fintech_zoo
import numpy as np
import pyarrow.dataset
import tensorflow as tf
from iris_data import READER, write_iris
from job_tools import REPOSITORY, status_of, wait_for_status, workers

from elasticdl_nb.runtime.storage.jobfolder import JobFolder

ELASTICDL = (str(Path(sys.executable).with_name("elasticdl")),)


def test_fintech_is_trained_and_predicts_without_its_zoo(commands, tmp_path):
    zoo = tmp_path / "work"
    features = fintech_zoo.write(zoo)
    out, predictions = tmp_path / "OUT", tmp_path / "PRED/"
    trained = commands.run(
        "train",
        f"--model_zoo={zoo}",
        "--model_def=fintech.MyKerasModel",
        "--input_fn=fintech.credit_data_processor",
        "--params=hidden_units=[10, 100, 20, 5], learning_rate=0.01",
        f"--data={zoo}/train/*.recordio",
        f"--output={out}",
        "--num_epochs=8",
        program=ELASTICDL,
    )
    assert trained.code == 0, trained.err
    assert str(out) in trained.out
    shutil.rmtree(zoo / "train")
    (zoo / "fintech.py").unlink()

    predicted = commands.run(
        "predict",
        f"--data={zoo}/test/*.recordio",
        f"--trained_model={out}",
        f"--output={predictions}/",
        program=ELASTICDL,
    )
    assert predicted.code == 0, predicted.err
    parts = sorted(predictions.iterdir())
    assert [part.name for part in parts] == ["part-00000.parquet"]
    logits = np.stack(pyarrow.dataset.dataset(parts).to_table()["prediction"].to_pylist())
    assert logits.shape == (1000, 2)
    right = logits.argmax(axis=1) == (features[:, :2].sum(axis=1) > features[:, 2:].sum(axis=1))
    assert right.mean() > 0.9
    served = tf.saved_model.load(str(out / "saved_model"))
    np.testing.assert_allclose(served.serve({"credit": features}), logits, rtol=1e-4, atol=1e-4)


def guide(iris: Path, output: Path, name: str = "test-odps-iris") -> list[str]:
    return [
        "train",
        "--model_zoo=model_zoo",
        "--model_def=odps_iris_dnn_model.odps_iris_dnn_model.custom_model",
        f"--training_data={iris}",
        f"--validation_data={iris}",
        f"--data_reader_params={READER}",
        "--num_epochs=2",
        "--minibatch_size=64",
        "--num_minibatches_per_task=20",
        "--distribution_strategy=Local",
        f"--job_name={name}",
        "--evaluation_steps=20",
        f"--output={output}",
    ]


def test_the_guides_command_trains_iris_from_the_repositorys_root(commands, tmp_path):
    write_iris(tmp_path / "iris.csv")
    write_iris(tmp_path / "plain.csv", header=False, names=False)
    verbatim = guide(tmp_path / "iris.csv", tmp_path / "iris_dnn_model")
    plain = guide(tmp_path / "plain.csv", tmp_path / "plain", "plain")
    running = [commands.start(*command, cwd=REPOSITORY) for command in (verbatim, plain)]
    for name, command in zip(("test-odps-iris", "plain"), running, strict=True):
        ended = command.end()
        assert ended.code == 0, ended.err
        assert "300 records" in ended.out
        status = status_of(name)
        assert (status.records_done, status.step) == (300, 6)
        assert [(item.step, item.records) for item in status.evaluations] == [(6, 150)]
    # The flowers are the same, by name or by number.
    assert status_of("plain").evaluations[0].metrics == status_of("test-odps-iris").evaluations[0].metrics

    again = commands.run(*verbatim, cwd=REPOSITORY)
    assert (again.code, again.out) == (2, "")
    assert again.err.startswith(f"elasticdl train: --output: {tmp_path / 'iris_dnn_model'} already exists")
    assert {job.name for job in JobFolder.all()} == {"test-odps-iris", "plain"}


def test_the_guides_launch_configuration_runs_and_its_name_is_taken_meanwhile(commands, tmp_path):
    iris = tmp_path / "iris.csv"
    write_iris(iris)
    arguments = [
        "train",
        "--model_zoo", str(REPOSITORY / "model_zoo"),
        "--model_def", "odps_iris_dnn_model.odps_iris_dnn_model.custom_model",
        "--training_data", str(iris),
        "--num_epochs", "2",
        "--minibatch_size", "64",
        "--num_minibatches_per_task", "20",
        "--distribution_strategy", "Local",
        "--num_workers", "2",
        "--checkpoint_steps", "10",
        "--evaluation_steps", "20",
        "--job_name", "test-odps-iris",
        "--data_reader_params", READER,
    ]  # fmt: skip
    first = commands.start(*arguments)
    wait_for_status("test-odps-iris", workers, "it has a worker")
    meanwhile = commands.run(*arguments)
    assert meanwhile.code == 2
    assert meanwhile.err.startswith("elasticdl train: --job_name: 'test-odps-iris' is in use")
    ended = first.end()
    assert ended.code == 0, ended.err
    trained = JobFolder.find("test-odps-iris").path / "trained_model"
    assert str(trained) in ended.out
    assert (trained / "trained_model.pb").is_file()
    assert status_of("test-odps-iris").records_done == 300
