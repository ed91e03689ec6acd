"""Bad input is one message that names the option, before any process starts; nothing is left behind."""

from __future__ import annotations

import os
from pathlib import Path

import fintech_zoo
import pytest
from job_tools import flags

import elasticdl_nb
from elasticdl_nb.cli import main
from elasticdl_nb.job import launch
from elasticdl_nb.runtime.errors import ElasticDLError

Options = dict[str, object]


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Options:
    def no_process(*arguments: object, **named: object) -> None:
        raise AssertionError("a process would have been started")

    monkeypatch.setattr(launch.subprocess, "Popen", no_process)
    fintech_zoo.write(tmp_path / "work", records=20)
    (tmp_path / "work" / "not_a_model.py").write_text("class Thing:\n    pass\n\nNUMBER = 7\n")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    (tmp_path / "file").touch()
    return {
        **fintech_zoo.MODEL,
        "model_zoo": str(tmp_path / "work"),
        "data": str(tmp_path / "work" / "train" / "*.recordio"),
        "output": str(tmp_path / "out"),
    }


CASES: dict[str, tuple[str, dict[str, str], list[str]]] = {
    "missing module": ("model_def", {"model_def": "fintek.MyKerasModel"}, ["fintek", "Did you mean 'fintech'"]),
    "missing model": ("model_def", {"model_def": "fintech.MyModel"}, ["'MyModel'"]),
    "not a model": ("model_def", {"model_def": "not_a_model.Thing"}, ["not_a_model.Thing is not a keras.Model"]),
    "not a class": ("model_def", {"model_def": "not_a_model.NUMBER"}, ["NUMBER"]),
    "no model at all": ("model_def", {"model_def": ""}, ["required"]),
    "missing loss": ("loss", {"loss": "fintech.los"}, ["los"]),
    "misspelt Keras loss": ("loss", {"loss": "mean_squared_eror"}, ["mean_squared_eror"]),
    "missing optimizer": ("optimizer", {"optimizer": "Adamm"}, ["Adamm", "Adam"]),
    "missing input function": ("input_fn", {"input_fn": "fintech.credit"}, ["credit"]),
    "a parameter nobody takes": ("params", {"params": "hidden_units=[1], leerning_rate=1"}, ["leerning_rate"]),
    "a parameter missing": ("params", {"params": "learning_rate=1"}, ["hidden_units"]),
    "no literal": ("params", {"params": "hidden_units=[1"}, ["hidden_units"]),
    "an empty glob": ("data", {"data": "{work}/none/*.recordio"}, ["none/*.recordio"]),
    "an empty validation glob": ("validation_data", {"validation_data": "{work}/none/*"}, ["none/*"]),
    "a CSV without a column": (
        "data",
        {"data": "{tmp}/x.csv", "data_reader_params": "columns=['a', 'c']"},
        ["x.csv", "'c'"],
    ),
    "an output that exists": ("output", {"output": "{tmp}/full"}, ["full", "exists"]),
    "an output that is a file": ("output", {"output": "{tmp}/file"}, ["file"]),
    "an output below a file": ("output", {"output": "{tmp}/file/out"}, ["file", "not a directory"]),
    "an unknown option": ("minibatchsize", {"minibatchsize": "3"}, ["minibatch_size"]),
    "no number": ("minibatch_size", {"minibatch_size": "many"}, ["many"]),
    "no records in a batch": ("minibatch_size", {"minibatch_size": "0"}, ["0"]),
    "an invalid name": ("job_name", {"job_name": "a job"}, ["a job"]),
    "another strategy": ("distribution_strategy", {"distribution_strategy": "Locale"}, ["Local"]),
    "no checkpoint": ("checkpoint_dir_for_init", {"checkpoint_dir_for_init": "{tmp}/full"}, ["full", "checkpoint"]),
}


def refused(options: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """What the command and the Python function say; checks that neither leaves anything."""
    before = sorted(path for path in tmp_path.rglob("*") if "home" not in path.parts)
    assert main(["train", *flags(**options)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    with pytest.raises(ElasticDLError) as caught:
        elasticdl_nb.train(**options)
    assert sorted(path for path in tmp_path.rglob("*") if "home" not in path.parts) == before
    assert list((tmp_path / "home").glob("jobs/*")) == []
    assert list((tmp_path / "home").glob("jobs/.*")) == []
    return said.err, str(caught.value)


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_one_message_that_names_its_option(case, options, tmp_path, capsys):
    option, changes, parts = CASES[case]
    places = {"{tmp}": str(tmp_path), "{work}": str(tmp_path / "work")}
    for name, value in changes.items():
        for placeholder, place in places.items():
            value = value.replace(placeholder, place)
        options[name] = value
    command, function = refused(options, tmp_path, capsys)
    assert command.startswith("elasticdl train: ")
    assert option in command
    assert option in function
    assert "Traceback" not in command
    for part in parts:
        assert part in command
        assert part in function


def test_a_corrupt_chunk_is_told_by_file_number_and_offset(options, tmp_path, capsys):
    offset = fintech_zoo.corrupt(tmp_path / "work" / "train" / "part-0.recordio", 0)
    for said in refused(options, tmp_path, capsys):
        assert f"part-0.recordio: corrupt RecordIO chunk 0 (counted from 0) at byte {offset}" in said
        assert "data" in said


def test_missing_requirements_are_named(options, tmp_path, capsys):
    (tmp_path / "work" / "requirements.txt").write_text("numpy\nno-such-distribution==1.0\n")
    for said in refused(options, tmp_path, capsys):
        assert "no-such-distribution" in said
        assert "model_zoo" in said


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc, which has room for nothing, even for root")
def test_a_result_in_a_place_that_may_not_be_written_is_told(options, tmp_path, capsys):
    options["output"] = "/proc/x"
    for said in refused(options, tmp_path, capsys):
        assert "output" in said
        assert "cannot be written: nothing can be made in" in said
