"""A real IPython shell with the extension loaded, in which an error of a cell is raised."""

from __future__ import annotations

import functools
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import elasticdl_nb


@functools.cache
def _shell() -> tuple[InteractiveShell, frozenset[str]]:
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    shell = InteractiveShell.instance(config=config)
    elasticdl_nb.load_ipython_extension(shell)
    return shell, frozenset(shell.user_ns)


class Shell:
    """Runs cells; `shown` are the objects that they displayed."""

    def __init__(self) -> None:
        self.ip, names = _shell()
        for name in self.ip.user_ns.keys() - names:
            del self.ip.user_ns[name]
        self.ip.history_manager.reset(new_session=False)
        self.ip.history_manager.input_hist_raw[:] = self.ip.history_manager.input_hist_parsed[:] = [""]
        self.ip.execution_count = 1

    @property
    def names(self) -> dict[str, Any]:
        return self.ip.user_ns

    def run(self, *cells: str) -> Any:
        """Run cells as a notebook would; return the last one's result, or raise its error."""
        result = None
        for cell in cells:
            result = self.ip.run_cell(cell, store_history=True)
            result.raise_error()
        return result.result if result else None

    def complete(self, text: str) -> list[str]:
        """What Tab offers at the end of the text, as the kernel tells front ends."""
        from IPython.core.completer import provisionalcompleter

        with provisionalcompleter():
            found = list(self.ip.Completer.completions(text, len(text)))
        return [text[: one.start] + one.text for one in found]
