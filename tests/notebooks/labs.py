"""A JupyterLab of its own for tests, and a headless Chromium that works in it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import nbformat
import psutil
from requirements_of_tests import chromium

PATIENCE_MS = 120_000
WIDGETS = Path(__file__).parents[2] / "widgets"


def write_notebook(path: Path, sources: Sequence[str]) -> None:
    """Write a notebook of code cells."""
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(notebook, path)


def first_program() -> str:
    """The program that README begins with."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    return readme.split("```python\n", 1)[1].split("```", 1)[0]


def commands_of_the_readme() -> list[str]:
    """The commands in README's shell block, without what it says of them."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    block = readme.split("```bash\n", 1)[1].split("```", 1)[0]
    return [line.partition("#")[0].strip() for line in block.splitlines()]


def checkout(place: Path) -> Path:
    """Make a folder like a checkout of the repository in which everything is installed; return it."""
    root, made = Path(__file__).parents[2], place / "checkout"
    (made / ".venv").mkdir(parents=True)
    for entry in root.iterdir():
        if not entry.name.startswith(".") and entry.name not in ("build", "demo-output"):
            (made / entry.name).symlink_to(entry)
    (made / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (made / ".venv" / ".installed").touch()
    return made


class Lab:
    """A running JupyterLab; its notebooks are in `folder`, the jobs that they start in `home`."""

    def __init__(self, folder: Path, home: Path, address: str, token: str) -> None:
        self.folder, self.home, self._address, self._token = folder, home, address, token

    def url(self, notebook: str, workspace: str = "") -> str:
        """The address of a notebook; another workspace is a browser that has nothing open yet."""
        place = f"/lab/workspaces/{workspace}/tree" if workspace else "/lab/tree"
        return f"{self._address}{place}/{notebook}?token={self._token}" + ("&reset" if workspace else "")

    def narrow_url(self, notebook: str) -> str:
        """The address of a notebook on a page with nothing else, even where other pages have a panel open."""
        return f"{self._address}/doc/workspaces/narrow/tree/{notebook}?token={self._token}&reset"

    def ask(self, path: str, method: str = "GET") -> bytes:
        """What the server answers to a request of its API."""
        return self._request(f"api/{path}", method)

    def use_theme(self, name: str) -> None:
        """Let pages that are loaded from now on have this theme: "JupyterLab Dark"."""
        raw = json.dumps({"raw": json.dumps({"theme": name})}).encode()
        self._request("lab/api/settings/@jupyterlab/apputils-extension:themes", "PUT", raw)

    def _request(self, path: str, method: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(
            f"{self._address}/{path}", body, method=method, headers={"Authorization": f"token {self._token}"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())


@contextmanager
def running_lab(place: Path, folder: Path) -> Iterator[Lab]:
    """Run a JupyterLab that keeps everything of its own below `place`; end it with everything it started."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    environment = {name: str(place / name.lower()) for name in (
        "ELASTICDL_HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR",
        "JUPYTERLAB_SETTINGS_DIR",
    )}  # fmt: skip
    # As installed; an editable installation lacks it.
    shutil.copytree(WIDGETS / "jupyter_server_config.d", place / "jupyter_config_dir" / "jupyter_server_config.d")
    asked_about_news = place / "jupyterlab_settings_dir/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    asked_about_news.parent.mkdir(parents=True)
    asked_about_news.write_text('{"fetchNews": "false"}')
    server = subprocess.Popen(
        [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.port={port}",
            "--ServerApp.port_retries=0", "--ServerApp.ip=127.0.0.1", f"--IdentityProvider.token={token}",
            f"--ServerApp.root_dir={folder}", "--LabApp.news_url=None",
        ],
        cwd=place, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    lab = Lab(folder, place / "elasticdl_home", f"http://127.0.0.1:{port}", token)
    try:
        _wait_until_it_answers(lab, server)
        yield lab
    finally:
        everything = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        server.terminate()  # its kernels end with it
        _, left = psutil.wait_procs(everything, timeout=20)
        for process in left:
            process.kill()
        server.wait(10)


def _wait_until_it_answers(lab: Lab, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            lab.ask("status")
            return
        except OSError:
            assert server.poll() is None and time.monotonic() < deadline, "JupyterLab does not start"
            time.sleep(0.2)


@contextmanager
def chromium_page(width: int = 1200, height: int = 1400, **options: Any) -> Iterator[Any]:
    """A page of a headless Chromium; `options` are those of Playwright's `new_context`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(PATIENCE_MS)
        yield context.new_page()
        browser.close()


def open_notebook(page: Any, url: str) -> None:
    """Load a notebook, and return once its kernel is ready."""
    page.goto(url)
    page.get_by_text("| Idle").first.wait_for()


def cell(page: Any, number: int) -> Any:
    """A code cell with its outputs, counted from 0."""
    return page.locator(".jp-Notebook .jp-CodeCell").nth(number)


def press_run(page: Any, number: int) -> None:
    """Run a cell as a person would."""
    cell(page, number).locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
