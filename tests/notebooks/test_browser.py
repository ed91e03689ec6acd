"""A live notebook in JupyterLab, in a headless Chromium: the view, its buttons, and what a saved notebook keeps."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from requirements_of_tests import chromium

pytestmark = [pytest.mark.needs("browser"), pytest.mark.timeout(420)]

# Long enough that Stop finds it running, on any machine.
TRAIN = """\
%%elasticdl_train --data data.csv --num_epochs 100000 --minibatch_size 8 --loss mse --optimizer sgd
def custom_model():
    import keras
    return keras.Sequential([keras.layers.Dense(1)])

def dataset_fn(dataset, mode):
    import tensorflow as tf
    return dataset.map(lambda row: (tf.strings.to_number(row[:1]), tf.strings.to_number(row[1:])))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    sources = ("%load_ext elasticdl_nb", TRAIN, 'f"{40 + 2} is the answer"', "%elasticdl_attach {job.name}")
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    (tmp_path / "work").mkdir()
    nbformat.write(notebook, tmp_path / "work" / "live.ipynb")
    (tmp_path / "work" / "data.csv").write_text("x,y\n" + "".join(f"{n},{2 * n}\n" for n in range(64)))
    return tmp_path


@pytest.fixture
def lab(folder: Path) -> Iterator[str]:
    """The address of a JupyterLab whose notebooks are in the folder `work`; ended with everything it started."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    environment = {name: str(folder / name.lower()) for name in (
        "ELASTICDL_HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR",
    )}  # fmt: skip
    server = subprocess.Popen(
        [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.port={port}",
            "--ServerApp.port_retries=0", "--ServerApp.ip=127.0.0.1", f"--IdentityProvider.token={token}",
            f"--ServerApp.root_dir={folder / 'work'}", "--LabApp.news_url=None",
        ],
        cwd=folder, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/api?token={token}", server)
        yield f"{address}/lab/tree/live.ipynb?token={token}"
    finally:
        everything = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        server.terminate()  # its kernels end with it
        _, left = psutil.wait_procs(everything, timeout=20)
        for process in left:
            process.kill()
        server.wait(10)


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10):
                return
        except OSError:
            assert server.poll() is None and time.monotonic() < deadline, "JupyterLab does not start"
            time.sleep(0.2)


@pytest.fixture
def page() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 1400})
        page.set_default_timeout(120_000)
        yield page
        browser.close()


def cell(page: Any, number: int) -> Any:
    return page.locator(".jp-Notebook .jp-CodeCell").nth(number)


def press_run(page: Any, number: int) -> None:
    cell(page, number).locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")


def test_a_live_job_is_watched_stopped_and_kept(lab, page, folder):
    from elasticdl_nb.runtime.jobfolder import JobFolder

    page.goto(lab)
    page.get_by_text("| Idle").wait_for()
    press_run(page, 0)
    cell(page, 0).get_by_text("[1]:").wait_for()

    # The view appears and moves, while the kernel goes on answering.
    press_run(page, 1)
    view = cell(page, 1).locator(".edl-head")
    view.wait_for()
    press_run(page, 2)
    cell(page, 2).get_by_text("42 is the answer").wait_for()
    cell(page, 1).locator(".edl-phase", has_text="running").wait_for()
    first = cell(page, 1).locator(".edl-stats").inner_text()
    page.wait_for_function(
        "([first]) => document.querySelector('.jp-CodeCell .edl-stats').innerText !== first", arg=[first]
    )
    assert cell(page, 1).get_by_role("link", name="dashboard").get_attribute("href").startswith("http://127.0.0.1:")

    # A reloaded page shows the view again, for the kernel is still there.
    page.keyboard.press("Control+s")
    page.reload()
    page.get_by_text("| Idle").wait_for()
    press_run(page, 3)
    cell(page, 3).locator(".edl-phase", has_text="running").wait_for()

    # Stop ends the job, and leaves a picture without widgets.
    cell(page, 3).get_by_role("button", name="Stop").click()
    cell(page, 3).get_by_text("cancelled").first.wait_for()
    cell(page, 3).locator(".jupyter-widgets").first.wait_for(state="detached")
    page.keyboard.press("Control+s")
    (job,) = (JobFolder(path) for path in (folder / "elasticdl_home" / "jobs").iterdir())
    assert len(_saved(folder, "cancelled")) < 200_000

    # Without its kernel, the saved notebook still shows it.
    page.goto("about:blank")
    page.goto(lab.replace("/lab/tree", "/lab/workspaces/other/tree") + "&reset")
    cell(page, 3).get_by_text("cancelled").first.wait_for()
    assert "Error displaying widget" not in page.content()
    assert not job.is_alive()


def _saved(folder: Path, word: str) -> str:
    """The last cell's outputs in the saved notebook, once they have the word; the file is replaced while we read."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            outputs = str(nbformat.read(folder / "work" / "live.ipynb", 4).cells[3].outputs)
        except (OSError, nbformat.reader.NotJSONError):
            outputs = ""
        if word in outputs and "widget-view" not in outputs:
            return outputs
        time.sleep(0.1)
    raise AssertionError("the notebook was not saved with its last picture")
