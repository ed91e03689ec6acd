"""Plays notebooks, each in a child of one process, and compares what a fresh process makes of their packages.

A notebook may change settings, libraries and modules for its whole process, so that it needs one of its own; starting
each anew would take minutes. Run as a program, with the names of tables, it prints what became of each scenario.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import json
import os
import shutil
import sys
import tempfile
import traceback
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Scenario:
    """A notebook and what must hold; `refuse` are parts of the message if it cannot be packaged."""

    cells: list[str]
    names: list[str]
    expressions: list[str]
    refuse: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)


_ASK = """
import json, sys
import {module} as m

def ask(text):
    try:
        return repr(eval(text, {{"np": __import__("numpy"), "XL": {rows}, **vars(m)}}))
    except BaseException as error:
        return f"{{type(error).__name__}}: {{error}}"

sys.stderr.write("ANSWERS" + json.dumps([ask(text) for text in {expressions}]))
"""
ROWS = [[-1.0 + (4 * i + j) * 2 / 11 for j in range(4)] for i in range(3)]


def play(scenario: Scenario) -> str:
    """Return what is wrong, or nothing."""
    from notebook_shell import Notebook

    from elasticdl_nb.capture import verify, write_zoo
    from elasticdl_nb.capture.checker import checker
    from elasticdl_nb.runtime.errors import CaptureError

    for path, text in scenario.files.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
    notebook = Notebook()
    sys.modules["__main__"] = notebook.shell.user_module
    notebook.run(*scenario.cells)
    try:
        captured = notebook.capture(*scenario.names)
    except CaptureError as error:
        wrong = [part for part in scenario.refuse if part not in str(error)]
        return f"refused without {wrong}: {error}" if wrong or not scenario.refuse else ""
    try:
        verify(captured, scenario.names)
    except CaptureError as error:
        refused = scenario.refuse and all(part in str(error) for part in scenario.refuse)
        return "" if refused else f"the check refuses an equal package: {error}\n{captured.source}"
    if scenario.refuse:
        return f"was not refused:\n{captured.source}"
    with tempfile.TemporaryDirectory() as zoo:
        write_zoo(captured, zoo, "packaged")
        Path(zoo, "ask.py").write_text(_ASK.format(module="packaged", expressions=scenario.expressions, rows=ROWS))
        process = checker()
        answer = process.wait(process.ask(os.path.realpath(zoo), "ask", [], []), 120)
    assert answer is not None
    there = json.loads(answer.errors.partition("ANSWERS")[2]) if "ANSWERS" in answer.errors else [answer.errors]
    space = {"np": sys.modules.get("numpy"), "XL": ROWS}
    here = [repr(eval(text, {**space, **notebook.shell.user_ns})) for text in scenario.expressions]
    if here != there:
        return f"the notebook says {here}, the package {there}\n{captured.source}"
    return ""


def _play_in_child(scenario: Scenario, result: int) -> None:
    from elasticdl_nb.capture import checker

    checker._numbers = itertools.count(os.getpid() * 1000)  # the process that imports is shared with other children
    checker.Checker.fits = lambda self: True  # type: ignore[method-assign]  # which is not a child of this one
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    sys.path.insert(0, folder)
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
            wrong = play(scenario)
    except BaseException:
        wrong = traceback.format_exc()
    shutil.rmtree(folder, ignore_errors=True)
    with os.fdopen(result, "w") as file:
        file.write(wrong + (shown.getvalue() if wrong else ""))
    os._exit(0)


def main() -> None:
    """Play the tables that the arguments name, and print a dictionary of what is wrong with which scenario."""
    tables = [importlib.import_module(name).SCENARIOS for name in sys.argv[1:]]
    scenarios = {name: one for table in tables for name, one in table.items()}
    if any("keras" in cell for one in scenarios.values() for cell in one.cells):
        import keras  # noqa: F401  once, for all children
        import pandas  # noqa: F401
        import tensorflow  # noqa: F401
    import notebook_shell

    from elasticdl_nb.capture.checker import checker, stop_checker

    notebook_shell._shell()
    checker()
    found = {}
    for name, scenario in scenarios.items():
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _play_in_child(scenario, writing)
        os.close(writing)
        with os.fdopen(reading) as file:
            found[name] = file.read()
        _, status = os.waitpid(child, 0)
        found[name] += f"the child ended with {status}" if status else ""
    stop_checker()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
