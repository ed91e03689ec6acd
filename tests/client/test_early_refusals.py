"""What is wrong with a job is told before any process starts, and nothing is left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

import elasticdl_nb
from elasticdl_nb.cli import main
from elasticdl_nb.given.zoosource import ZooSource
from elasticdl_nb.job import starting
from elasticdl_nb.runtime.errors import ElasticDLError, OptionError

MODEL = """
import keras
import tensorflow as tf


class Net(keras.Model):
    def __init__(self, units=4):
        super().__init__()
        self.hidden = keras.layers.Dense(units)

    def call(self, inputs):
        return self.hidden(inputs)


class NoModel:
    pass


def custom_model(units=4):
    return Net(units)


def loss(labels, output):
    return tf.reduce_mean(tf.square(output - labels))


def optimizer(lr=0.1):
    return keras.optimizers.SGD(lr)


def dataset_fn(dataset, mode):
    return dataset.map(lambda record: (record[:2], record[2:]))
"""


@pytest.fixture(autouse=True)
def no_process_is_started(monkeypatch):
    def launch(folder, early):
        raise AssertionError("a process would have been started")

    monkeypatch.setattr(starting, "launch", launch)


@pytest.fixture
def options(tmp_path: Path) -> dict[str, object]:
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    (zoo / "net.py").write_text(MODEL)
    data = tmp_path / "x.csv"
    data.write_text("a,b,c\n1,2,3\n4,5,6\n")
    return {"model_zoo": zoo, "model_def": "net.custom_model", "data": data, "output": tmp_path / "out"}


def refused(options: dict[str, object], home: Path, **changes: object) -> str:
    with pytest.raises(ElasticDLError) as caught:
        elasticdl_nb.train(**{**options, **changes})
    assert not list(home.glob("jobs/*"))
    assert not Path(str(options["output"])).exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"model_def": "net.custom_modle"}, ["model_def: ", "Did you mean 'custom_model'"]),
        ({"model_def": "nte.custom_model"}, ["model_def: ", "nte"]),
        ({"model_def": "net.NoModel"}, ["model_def: net.NoModel is not a keras.Model"]),
        ({"loss": "los"}, ["loss: ", "Did you mean 'loss'"]),
        ({"params": "depth=3"}, ["params: depth"]),
        ({"data": "/nowhere/*.csv"}, ["data: ", "/nowhere/*.csv"]),
        ({"validation_data": "/nowhere/x.csv"}, ["validation_data: ", "/nowhere/x.csv"]),
        ({"data_reader_params": "columns=['a', 'z']"}, ["x.csv", "'z'"]),
        ({"model_zoo": "/nowhere"}, ["model_zoo: ", "/nowhere"]),
        ({"job_name": "a/b"}, ["job_name: "]),
        ({"compression": "float16", "distribution_strategy": "Local"}, ["compression: has an effect only with"]),
        ({"from_scratch": True}, ["from_scratch: has an effect only on a model that a notebook or script defines"]),
        ({"follow": True}, ["follow: has an effect only if data is a directory or glob"]),
        ({"follow": True, "data": pd.DataFrame({"a": [1.0]})}, ["follow: has an effect only if data is a directory"]),
        ({"follow": True, "data": "*.csv", "data_reader_params": "typed=True"}, ["follow: CSV columns that have"]),
        ({"modle": "x", "num_epoch": 2}, ["modle: not an option", "num_epoch: not an option"]),
    ],
)
def test_mistakes_are_told_and_leave_nothing(changes, parts, options, home, monkeypatch):
    monkeypatch.chdir(Path(str(options["data"])).parent)
    message = refused(options, home, **changes)
    for part in parts:
        assert part in message


def test_data_of_a_custom_reader_is_not_followed(options, home):
    zoo = Path(str(options["model_zoo"]))
    (zoo / "net.py").write_text(MODEL + "\n\ndef custom_data_reader(data_origin, **kwargs):\n    return None\n")
    message = refused(options, home, follow=True, data=os.fspath(zoo.parent))
    assert message == "follow: the model has a custom_data_reader, whose data does not consist of files"


def test_requirements_that_are_missing_are_named(options, home):
    (Path(str(options["model_zoo"])) / "requirements.txt").write_text("no-such-package-at-all>=1\n")
    assert "no-such-package-at-all" in refused(options, home)


def test_a_place_where_nothing_can_listen_is_told(options, home, monkeypatch):
    monkeypatch.setenv("ELASTICDL_BIND", "0.0.0.0")
    assert "ELASTICDL_ADVERTISE: required with ELASTICDL_BIND=0.0.0.0" in refused(options, home)


def test_an_output_that_exists_is_told(options, home):
    output = Path(str(options["output"]))
    output.mkdir()
    (output / "trained_model.pb").touch()
    with pytest.raises(OptionError, match=r"output: .* already exists"):
        elasticdl_nb.train(**options)
    assert not list(home.glob("jobs/*"))


def test_a_frame_that_cannot_be_written_is_told(options, home):
    frame = pd.DataFrame({"a": [1, "x"]})
    assert "data: column 'a' of the frame" in refused(options, home, data=frame)


def test_a_directory_without_a_trained_model_is_told(options, home, tmp_path):
    with pytest.raises(ElasticDLError, match="trained_model"):
        elasticdl_nb.predict(trained_model=tmp_path, data=options["data"], output=tmp_path / "p.csv")
    assert not list(home.glob("jobs/*"))


def test_a_dry_run_checks_everything_and_leaves_nothing(options, home, capsys):
    flags = [f"--{name}={value}" for name, value in options.items()]
    assert main(["train", *flags, "--dry_run"]) == 0
    assert '"model_def": "net.custom_model"' in capsys.readouterr().out
    assert not list(home.glob("jobs/*"))
    assert main(["train", *flags, "--dry_run", "--loss=los"]) == 2
    assert "--loss: " in capsys.readouterr().err


def test_a_job_is_complete_before_its_master_starts(options, home, monkeypatch):
    started = []
    monkeypatch.setattr(starting, "launch", lambda folder, early: started.append(folder))
    frame = pd.DataFrame({"a": [1.0], "b": [2.0], "c": [3.0]})
    job = elasticdl_nb.train(**{**options, "data": [frame, frame], "params": {"units": 2}}, job_name="job", wait=False)
    assert [folder.name for folder in started] == ["job"]
    assert (job.folder.zoo / "net.py").read_text() == MODEL
    assert job.spec.data == tuple(str(job.folder.data / f"data-{number}.parquet") for number in (0, 1))
    assert all(pd.read_parquet(path).equals(frame) for path in job.spec.data)
    assert job.spec.params == {"units": 2}


def test_credentials_of_a_zoo_are_kept_nowhere(options, home, monkeypatch):
    monkeypatch.setattr(starting, "launch", lambda folder, early: None)
    fetched = []

    def fetch(model_zoo: str, into: Path) -> ZooSource:
        fetched.append(model_zoo)
        (into / "net.py").write_text(MODEL)
        return ZooSource(into, "", "")

    monkeypatch.setattr("elasticdl_nb.given.zoosource.fetch_zoo", fetch)
    job = elasticdl_nb.train(**{**options, "model_zoo": "https://me:secret@git.company.com/models"}, wait=False)
    assert fetched == ["https://me:secret@git.company.com/models"]
    assert job.spec.model_zoo == "https://git.company.com/models"
    assert ":secret" not in (job.folder.path / "spec.json").read_text()
