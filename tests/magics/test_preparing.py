"""What a live notebook shows before a job runs, and what is left of a job that is refused: nothing."""

from __future__ import annotations

import contextlib

import psutil
import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from magic_shell import Shell

from elasticdl_nb.job import starting
from elasticdl_nb.magics import commands, displays
from elasticdl_nb.runtime.errors import DataError, JobFailed, OptionError

MODEL = """
def custom_model(): return keras.Sequential([keras.layers.Dense(1)])
def loss(labels, output): return labels - output
def dataset_fn(dataset, mode): return dataset
"""


@pytest.fixture
def outputs(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What a browser would get."""
    publisher = CapturingDisplayPublisher(parent=shell.ip)
    monkeypatch.setattr(shell.ip, "display_pub", publisher)
    for module in (displays, starting):
        monkeypatch.setattr(module, "in_live_notebook", lambda: True)
    return publisher.outputs


def processes_of_jobs() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if any("elasticdl_nb.runtime" in argument for argument in process.cmdline()):
                found.append(process)
    return found


@pytest.mark.parametrize(
    ("cell", "error"),
    [
        (f"%%elasticdl_train --data missing.csv --optimizer sgd\nimport keras\n{MODEL}", (DataError, OptionError)),
        ("%%elasticdl_train --data x.csv\n1 / 0", ZeroDivisionError),
        ("%elasticdl_train --data $x", Exception),
    ],
)
def test_a_picture_is_there_at_once_and_gone_when_the_job_is_refused(shell, outputs, cell, error):
    with pytest.raises(error):
        shell.run(cell)
    pictures = [output["data"] for output in outputs if output["transient"] == outputs[0]["transient"]]
    assert "starting" in pictures[0]["text/plain"] and "running the cell" in pictures[0]["text/html"]
    assert not outputs[0]["update"] and all(output["update"] for output in outputs[1:])
    assert pictures[-1] == {}
    assert not psutil.wait_procs(processes_of_jobs(), timeout=60)[1]


@pytest.mark.parametrize("cell", ["%%elasticdl_train --date x.csv\n1", "%%elasticdl_train --data x.csv --dry_run\n1/0"])
def test_mistakes_in_options_and_dry_runs_start_and_show_nothing(shell, outputs, cell, monkeypatch):
    monkeypatch.setattr(commands, "Start", None)
    with pytest.raises((OptionError, ZeroDivisionError)):
        shell.run(cell)
    assert not outputs


@pytest.mark.parametrize("data", ["$rows", "rows"])
def test_variables_that_are_no_data_are_refused_as_in_python(shell, data):
    shell.run("rows = [[1, 2], [3, 4]]")
    with pytest.raises(OptionError, match="data: a list with Python's own lists or numbers: make them arrays"):
        shell.run(f"%elasticdl_train --model_def m.model --data {data}")


def test_cells_start_jobs_the_way_everybody_does(shell, monkeypatch):
    def submit(self: starting.Start, given: dict[str, object], *, detach: bool, waited: bool) -> None:
        raise JobFailed(f"{given['data']}, {detach}")

    monkeypatch.setattr(starting.Start, "submit", submit)
    for wait, detached in (("--wait", False), ("--no_wait", True), ("", False)):
        with pytest.raises(JobFailed, match=f"^x.csv, {detached}$"):
            shell.run(f"%elasticdl_train {wait} --model_def a.b --data x.csv")
    with pytest.raises(JobFailed, match="RecordBatchReader"):
        shell.run("%sqlflow SELECT i AS x, i % 2 AS y FROM range(9) r(i) TO TRAIN DNNClassifier LABEL y INTO m")
