"""The one way in which jobs are started, whoever starts them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

import elasticdl_nb
from elasticdl_nb.cli import main
from elasticdl_nb.given.namedobjects import NamedObjects, name_objects
from elasticdl_nb.job import Job, preparing, starting
from elasticdl_nb.job.display import Display
from elasticdl_nb.job.starting import Start, start_job, waits
from elasticdl_nb.runtime.errors import ElasticDLError, OptionError
from elasticdl_nb.runtime.spec import JobKind
from elasticdl_nb.runtime.storage.jobfolder import JobFolder


class Recorder(Display):
    """Remembers what it was asked to show."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def preparing(self, doing: str) -> None:
        self.shown.append(doing)

    def refused(self) -> None:
        self.shown.append("refused")

    def follow(self, job: Job) -> None:
        self.shown.append(f"followed {job.name}")

    def leave(self, job: Job) -> None:
        self.shown.append(f"left {job.name}")


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "net.py").write_text(
        "def custom_model(): return 1\ndef loss(labels, output): return 1\ndef optimizer(): return 1\n"
        "def dataset_fn(dataset, mode): return dataset\n"
    )
    return {"model_zoo": tmp_path / "zoo", "model_def": "net.custom_model", "data": tmp_path / "x.csv"}


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of jobs that would have been started."""
    names: list[str] = []
    monkeypatch.setattr(starting, "launch", lambda folder, early: names.append(folder.name))
    return names


STEPS = ["checking the options", "packaging and checking the model", "checking the data", "starting the master"]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"num_epoch": 3, "minibatch_size": 0}, ["num_epoch", "minibatch_size"]),
        ({"num_epochs": "many", "minibatch_size": 0}, ["num_epochs", "minibatch_size"]),
        ({"loss": "mze", "optimizer": "sgdd"}, ["loss", "optimizer"]),
    ],
)
def test_everything_that_is_wrong_with_options_is_reported_together(options, home, wrong, named):
    with pytest.raises(OptionError) as refused:
        start_job("train", {**options, **wrong})
    assert [line.split(":")[0] for line in str(refused.value).splitlines()] == named


@pytest.mark.parametrize(
    ("call", "end"),
    [({"wait": True}, "followed"), ({"wait": False}, "left"), ({"detach": True}, "left"), ({}, "followed")],
)
def test_each_step_is_shown_and_then_the_job(options, launched, call, end):
    display = Recorder()
    job = start_job("train", {**options, "job_name": "job"}, display, **call)
    assert display.shown == [*STEPS, f"{end} job"]
    assert (launched, job.name) == (["job"], "job")


@pytest.mark.parametrize(
    ("live", "detach", "foreground"), [(False, False, True), (False, True, False), (True, False, False)]
)
def test_a_job_ends_with_its_client_unless_it_is_detached_or_a_notebook_has_it(
    options, launched, monkeypatch, live, detach, foreground
):
    monkeypatch.setattr(starting, "in_live_notebook", lambda: live)
    assert waits(None, detach=detach) == foreground
    assert waits(True, detach=detach) and not waits(False, detach=detach)
    assert start_job("train", options, wait=False, detach=detach)._foreground == foreground


def test_a_refusal_and_an_interrupt_are_shown_and_leave_no_process_and_no_folder(options, home, monkeypatch):
    def interrupt(folder: JobFolder, early: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(starting, "launch", interrupt)
    for given, steps, error in (({**options, "data": "/no.csv"}, 3, OptionError), (options, 4, KeyboardInterrupt)):
        display = Recorder()
        with pytest.raises(error), Start("train", display) as start:
            start.begin("thinking")
            early = start._early
            start.submit(given)
        assert display.shown == ["thinking", *STEPS[:steps], "refused"]
        assert early is not None and early.process.wait(60) == 0
        assert not list(home.glob("jobs/*"))


def custom_model() -> int:
    return 1


def dataset_fn(dataset: Any, mode: str) -> Any:
    return dataset


@pytest.mark.parametrize(("envs", "many"), [({}, 1), ({"SOME": "variable"}, 0)])
def test_processes_import_while_a_model_is_tried_and_captured_code_checked(options, home, monkeypatch, envs, many):
    begun: list[object] = []
    monkeypatch.setattr(starting, "begin", lambda: begun.append(object()) or begun[-1])
    dismissed: list[object] = []
    monkeypatch.setattr(starting, "dismiss", dismissed.append)
    seen: list[int] = []
    monkeypatch.setattr(preparing, "needs_trial", lambda spec, zoo: True)
    monkeypatch.setattr(preparing, "try_model", lambda folder: seen.append(len(begun)))
    taken: list[object] = []
    monkeypatch.setattr(starting, "launch", lambda folder, early: taken.append(early))
    given = {"loss": "mse", "optimizer": "sgd", "envs": envs, "data": options["data"]}
    start_job("train", {"model_def": custom_model, "dataset_fn": dataset_fn, **given}, wait=False)
    assert (seen, taken, dismissed) == ([many], begun or [None], [])

    def captured(kind: JobKind, options: Mapping[str, Any]) -> NamedObjects:
        return replace(name_objects(kind, options), captured={"custom_model": custom_model})

    monkeypatch.setattr(preparing, "name_objects", captured)
    monkeypatch.setattr("elasticdl_nb.capture.checker.start_early", lambda: None)
    monkeypatch.setattr(preparing, "_fetch_code", lambda *_: seen.append(len(begun)))
    with pytest.raises(ElasticDLError):  # there is no code
        start_job("train", {"model_def": custom_model, "dataset_fn": dataset_fn, **given}, wait=False)
    assert seen == [many, 2 * many] and dismissed == begun[many:]


def test_every_face_starts_its_jobs_this_way(options, home, monkeypatch, tmp_path):
    class Reached(Exception):
        pass

    def submit(self: Start, given: Mapping[str, Any], *, detach: bool = False, waited: bool = False) -> Job:
        raise Reached(self._kind)

    monkeypatch.setattr(Start, "submit", submit)
    kinds: tuple[JobKind, ...] = ("train", "evaluate", "predict")
    for kind in kinds:
        with pytest.raises(Reached, match=kind):
            getattr(elasticdl_nb, kind)(**options)
        with pytest.raises(Reached, match=kind):
            main([kind])
    with duckdb.connect(str(tmp_path / "a.duckdb")) as connection:
        connection.execute("CREATE TABLE t AS SELECT i AS x, i % 2 AS y FROM range(9) r(i)")
        with pytest.raises(Reached, match="train"):
            elasticdl_nb.sql("SELECT * FROM t TO TRAIN DNNClassifier LABEL y INTO m", connect=connection)
    assert not list(home.glob("jobs/*"))
