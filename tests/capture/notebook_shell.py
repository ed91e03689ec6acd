"""A notebook without a kernel, for the tests of capture."""

from __future__ import annotations

import functools
import itertools
import sys
import tempfile
import types
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from elasticdl_nb.capture import Captured, write_zoo
from elasticdl_nb.magics.capture import CellRecorder, capture

_numbers = itertools.count()


@functools.cache
def _shell() -> tuple[InteractiveShell, frozenset[str]]:
    """One shell for all tests, for it is slow to make and slower to end; and the names that it starts with."""
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    shell = InteractiveShell(config=config)
    return shell, frozenset(shell.user_ns)


class Notebook:
    """A real IPython shell that cells are run in, and a way to load what is captured from it."""

    def __init__(self) -> None:
        self.shell, names = _shell()
        for name in self.shell.user_ns.keys() - names:
            del self.shell.user_ns[name]
        history = self.shell.history_manager
        history.reset(new_session=False)
        history.input_hist_raw[:] = history.input_hist_parsed[:] = [""]
        self.shell.execution_count = 1
        self.shell.compile.reset_compiler_flags()
        self.recorder = CellRecorder(self.shell)
        self.recorder.start()

    def run(self, *cells: str) -> None:
        for cell in cells:
            self.shell.run_cell(cell, store_history=True)

    def capture(self, *names: str) -> Captured:
        return capture(self.shell, names)

    def value(self, expression: str) -> Any:
        return eval(expression, self.shell.user_ns)


class Loaded:
    """The captured module, imported next to nothing of the notebook."""

    def __init__(self, captured: Captured) -> None:
        self.module = types.ModuleType(f"captured_{next(_numbers)}")
        with tempfile.TemporaryDirectory() as folder:
            write_zoo(captured, folder, self.module.__name__)
            self.module.__file__ = f"{folder}/{self.module.__name__}.py"
            sys.modules[self.module.__name__] = self.module
            code = compile(captured.source, self.module.__file__, "exec", dont_inherit=True)
            exec(code, vars(self.module))

    def value(self, expression: str) -> Any:
        return eval(expression, vars(self.module))
