"""A live notebook in JupyterLab, in a headless Chromium: the view, its buttons, and what a saved notebook keeps."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyterlab import Lab, cell, chromium_page, open_notebook, press_run, running_lab, write_notebook

from elasticdl_nb.runtime.chaos import processes
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.storage.locks import Process

pytestmark = [pytest.mark.needs("browser"), pytest.mark.timeout(600)]

# More epochs than any machine gets through meanwhile: Stop ends it. Each call of dataset_fn writes a flood of lines.
TRAIN = """\
%%elasticdl_train --data data.csv --num_epochs 1000000 --minibatch_size 8 --loss mse --optimizer sgd
--job_name NAME --distribution_strategy ParameterServerStrategy --num_workers 1
def custom_model():
    import keras
    return keras.Sequential([keras.layers.Dense(1)])

def dataset_fn(dataset, mode):
    import tensorflow as tf
    for number in range(2000):
        print("line", number, "of a flood", "." * 60)
    return dataset.map(lambda row: (tf.strings.to_number(row[:1]), tf.strings.to_number(row[1:])))
"""
CELLS = ["%load_ext elasticdl_nb", TRAIN, 'f"{40 + 2} is the answer"', "%elasticdl_attach NAME", "job.wait()"]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "data.csv").write_text("x,y\n" + "".join(f"{n / 64},{n / 32}\n" for n in range(64)))
    write_notebook(folder / "live.ipynb", CELLS)
    with running_lab(tmp_path, folder) as lab:
        yield lab


@pytest.fixture
def page() -> Iterator[Any]:
    with chromium_page() as page:
        yield page


def phase(page: Any, number: int, text: str) -> None:
    cell(page, number).locator(".edl-phase", has_text=text).wait_for()


def run(page: Any, number: int, count: int) -> None:
    press_run(page, number)
    cell(page, number).get_by_text(f"[{count}]:").first.wait_for()


def wait_until_gone(processes: list[Process]) -> None:
    deadline = time.monotonic() + 60
    while any(process.is_alive() for process in processes):
        assert time.monotonic() < deadline, "the job has left processes behind"
        time.sleep(0.1)


def kernels(lab: Lab) -> list[str]:
    return [kernel["id"] for kernel in json.loads(lab.ask("kernels"))]


def test_a_live_job_is_watched_scaled_stopped_and_kept(lab, page):
    open_notebook(page, lab.url("live.ipynb"))
    run(page, 0, 1)

    # The view appears and moves, while the kernel goes on answering.
    press_run(page, 1)
    cell(page, 1).locator(".edl-head").wait_for()
    press_run(page, 2)
    cell(page, 2).get_by_text("42 is the answer").wait_for()
    phase(page, 1, "Running")
    first = cell(page, 1).locator(".edl-stats").inner_text()
    page.wait_for_function(
        "([first]) => document.querySelector('.jp-CodeCell .edl-stats').innerText !== first", arg=[first]
    )
    assert cell(page, 1).get_by_role("link", name="dashboard").get_attribute("href").startswith("http://127.0.0.1:")

    # One worker more, one fewer: the job itself says so.
    for icon, said in (("plus", "with 2 worker(s) instead of 1"), ("minus", "with 1 worker(s) instead of 2")):
        cell(page, 1).locator(f"button:has(.fa-{icon})").click()
        cell(page, 1).locator(".edl-log").get_by_text(said).wait_for()

    # A flood of log lines reaches the page as its last hundred, and the page goes on to answer.
    cell(page, 1).get_by_role("button", name="Logs").click()
    cell(page, 1).locator(".edl-tail").get_by_text("line 1999 of a flood").first.wait_for()
    assert len(cell(page, 1).locator(".edl-tail").inner_text()) < 10_000

    # A reloaded page shows the view again, for the kernel is still there.
    page.keyboard.press("Control+s")
    saved(lab, 1, "NAME", live=True)
    page.reload()
    page.get_by_text("| Idle").first.wait_for()
    phase(page, 1, "Running")

    # Stop ends the job. The page that was loaded again shows that, too; what is saved is a picture without widgets.
    job = JobFolder(lab.home / "jobs" / "NAME")
    living = processes(job)
    assert {"supervisor", "master", "worker-0", "ps-0"} <= living.keys()
    run(page, 3, 4)
    cell(page, 3).get_by_role("button", name="Stop").click()
    for number in (1, 3):
        cell(page, number).get_by_text("cancelled").first.wait_for()
    cell(page, 3).locator(".jupyter-widgets").first.wait_for(state="detached")
    page.keyboard.press("Control+s")
    assert len(saved(lab, 3, "cancelled")) < 100_000
    wait_until_gone(list(living.values()))

    # Without its kernel, the saved notebook still shows it.
    for kernel in kernels(lab):
        lab.ask(f"kernels/{kernel}", "DELETE")
    page.goto("about:blank")
    page.goto(lab.url("live.ipynb", workspace="other"))
    cell(page, 3).get_by_text("cancelled").first.wait_for()
    assert "Error displaying widget" not in page.content()


def saved(lab: Lab, number: int, word: str, *, live: bool = False) -> str:
    """A cell's outputs in the saved notebook, once they have the word; the file is replaced while we read."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            outputs = str(nbformat.read(lab.folder / "live.ipynb", 4).cells[number].outputs)
        except (OSError, nbformat.reader.NotJSONError):
            outputs = ""
        if word in outputs and ("widget-view" in outputs) == live:
            return outputs
        time.sleep(0.2)
    raise AssertionError("the notebook was not saved with its last picture")


def test_interrupts_restarts_and_a_closed_browser_leave_the_job_alone(lab, page):
    open_notebook(page, lab.url("live.ipynb"))
    run(page, 0, 1)
    run(page, 1, 2)
    phase(page, 1, "Running")
    job = JobFolder(lab.home / "jobs" / "NAME")
    (kernel,) = kernels(lab)

    # While a cell waits, the buttons say that they cannot be heard; an interrupt ends the waiting, not the job.
    press_run(page, 4)
    cell(page, 1).get_by_text("A cell is waiting for this job").wait_for()
    lab.ask(f"kernels/{kernel}/interrupt", "POST")
    cell(page, 4).get_by_text("To end it: elasticdl cancel").first.wait_for()
    cell(page, 4).get_by_text("KeyboardInterrupt").first.wait_for()
    cell(page, 1).get_by_text("A cell is waiting for this job").wait_for(state="detached")
    assert job.is_alive()

    # A new kernel knows nothing, and is shown the whole picture by the job's name; nor does the job need a browser.
    before = job.master_pid()
    page.goto("about:blank")
    lab.ask(f"kernels/{kernel}/restart", "POST")
    open_notebook(page, lab.url("live.ipynb"))
    run(page, 0, 1)
    run(page, 3, 2)
    phase(page, 3, "Running")
    cell(page, 3).locator(".edl-log").get_by_text("train job started").wait_for()
    assert cell(page, 3).locator(".edl-chart").count() == 1 and job.master_pid() == before

    # A second interrupt, at once, ends the job.
    living = processes(job)
    press_run(page, 4)
    cell(page, 3).get_by_text("A cell is waiting for this job").wait_for()
    lab.ask(f"kernels/{kernel}/interrupt", "POST")
    cell(page, 4).get_by_text("Interrupting again").first.wait_for()
    lab.ask(f"kernels/{kernel}/interrupt", "POST")
    cell(page, 3).get_by_text("cancelled").first.wait_for()
    wait_until_gone(list(living.values()))
