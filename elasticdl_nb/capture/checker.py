"""A process beside the notebook that imports packages, each in a fresh child of its own.

Importing TensorFlow takes seconds, which nobody wants to wait for at each check. So one process imports it, as early as
possible, and nothing else; for each package it forks a child, which knows of the notebook as little as a worker does.
The program ends with the process that started it, or after an idle hour.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

IDLE = 3600  # seconds
# A worker has these before it imports a model, too. Forking them is safe on Linux only.
PRELOADED = ("tensorflow", "keras") if sys.platform == "linux" else ()
# Variables that libraries and Python read when they are imported or started.
_EARLY = ("TF_", "KERAS_", "XLA_", "CUDA_", "PYTHON", "OMP_", "LD_")
_numbers = itertools.count(1)


@dataclass
class Answer:
    """What became of a package: descriptions of its objects and settings, or `errors` and the child's status."""

    status: int
    description: dict[str, str]
    errors: str
    settings: dict[str, str] = field(default_factory=dict)


class Checker:
    """The process, seen from the one that started it."""

    def __init__(self, preloaded: Iterable[str]) -> None:
        self.preloaded = tuple(preloaded)
        self.environment = _environment()
        self._folder = tempfile.TemporaryDirectory(prefix="elasticdl-check-")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, *self.preloaded],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            cwd=self._folder.name,
            env=self.environment,
            start_new_session=True,
        )
        self._answered: dict[int, int] = {}

    def fits(self) -> bool:
        """Whether it still runs, and was started as it would be now."""
        early = [{k: v for k, v in one.items() if k.startswith(_EARLY)} for one in (self.environment, _environment())]
        return self._process.poll() is None and early[0] == early[1] and self.preloaded == _loaded()

    def ask(
        self, root: str, module: str, names: Iterable[str], compared: Iterable[str], ours: Iterable[str] = ()
    ) -> int:
        """Begin to import a module of the folder `root`, which must define `names`; return the number to wait for.

        The answer describes the objects called `compared`; see `describe` for `ours`, by default the module.
        """
        number = next(_numbers)
        request = {
            "number": number, "root": root, "module": module, "names": list(names), "compared": list(compared),
            "ours": list(ours) or [module, "__main__"],
            "environment": _environment(), "answer": os.path.join(self._folder.name, str(number)),
        }  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        return number

    def wait(self, number: int, timeout: float) -> Answer | None:
        """Wait until a package has been imported and described; None if that takes too long."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout
        while number not in self._answered:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            line = self._process.stdout.readline()
            if not line:
                return Answer(self._process.wait(), {}, "the checking process has ended")
            answered, status = map(int, line.split())
            self._answered[answered] = status
        path, status = os.path.join(self._folder.name, str(number)), self._answered.pop(number)
        with open(f"{path}.errors", encoding="utf-8", errors="replace") as file:
            errors = file.read()
        if status:
            return Answer(status, {}, errors)
        with open(path, encoding="utf-8") as file:
            described = json.load(file)
        return Answer(status, described["objects"], errors, described["settings"])

    def stop(self) -> None:
        """End the process and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        self._folder.cleanup()


_checker: Checker | None = None
_lock = threading.Lock()


def checker() -> Checker:
    """Return the process for this one's checks; start it if necessary."""
    global _checker
    with _lock:
        if _checker is None or not _checker.fits():
            if _checker is not None:
                _checker.stop()
            _checker = Checker(_loaded())
        return _checker


def start_early() -> None:
    """Start the process for checks, if it would import something that takes long: it is ready when it is needed."""
    if _loaded():
        checker()


def stop_checker() -> None:
    """End the process for checks, if there is one."""
    global _checker
    with _lock:
        if _checker is not None:
            _checker.stop()
        _checker = None


def _loaded() -> tuple[str, ...]:
    return tuple(name for name in PRELOADED if hasattr(sys.modules.get(name), "__version__"))


def _environment() -> dict[str, str]:
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONDONTWRITEBYTECODE": "1"}


# ------------------------------------------------------------------ in the process itself


def main() -> None:
    """Import what the arguments name, then one package for each line of the standard input."""
    from elasticdl_nb.capture import describe, processwide  # noqa: F401  loaded once, for all children
    from elasticdl_nb.capture.state import rebuilding  # noqa: F401

    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    for name in sys.argv[1:]:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    warnings.filterwarnings("ignore", message=".*fork.*")
    while True:
        signal.alarm(IDLE)
        line = sys.stdin.readline()
        if not line:
            return
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _answer(json.loads(line))
            os._exit(0)


def _end_with(parent: int) -> None:
    """End this process soon after the one that started it, even while it imports."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def _answer(request: dict[str, Any]) -> None:
    """Import the package in another child, so that not even a crash leaves the request without an answer."""
    pid = os.fork()
    if pid == 0:
        for number, path in ((0, os.devnull), (1, f"{request['answer']}.errors")):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), number)
        os.dup2(1, 2)
        _import(request)
    _, status = os.waitpid(pid, 0)
    os.write(1, f"{request['number']} {os.waitstatus_to_exitcode(status)}\n".encode())


def _import(request: dict[str, Any]) -> None:
    """Import and describe the package; never returns."""
    from elasticdl_nb.capture.describe import describe
    from elasticdl_nb.capture.processwide import all_settings

    status = 1
    try:
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["root"])
        sys.path.insert(0, request["root"])
        sys.argv[:] = [""]
        loaded = importlib.import_module(request["module"])
        missing = [name for name in request["names"] if not hasattr(loaded, name)]
        if missing:
            sys.stderr.write(f"the module does not define {', '.join(missing)}\n")
        else:
            found = {name: getattr(loaded, name) for name in request["compared"] if hasattr(loaded, name)}
            with open(request["answer"], "w", encoding="utf-8") as file:
                objects = describe(found, frozenset(request["ours"]))
                json.dump({"objects": objects, "settings": all_settings()}, file)
            status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)  # without waiting for threads that the imports started


if __name__ == "__main__":
    main()
