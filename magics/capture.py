"""Capture from a live IPython shell: turns its history and namespace into a packaged module."""

from __future__ import annotations

import os
from collections.abc import Iterable

from IPython.core.interactiveshell import ExecutionResult, InteractiveShell

from elasticdl_nb.capture import Captured, capture_cells
from elasticdl_nb.capture.checker import start_early
from elasticdl_nb.capture.history import executed_cells, forget_outcomes, record_outcome


def capture(shell: InteractiveShell, names: Iterable[str], directory: str | None = None) -> Captured:
    """Return a module that defines `names` as the notebook's executed cells left them.

    `directory` is the notebook's folder, by default the working directory. Raises CaptureError; see `capture_cells`.
    """
    return capture_cells(
        executed_cells(shell),
        shell.user_ns,
        names,
        transform=shell.transform_cell,
        directory=directory or os.getcwd(),
    )


class CellRecorder:
    """Records how each cell ended, so that code a failed cell did not reach does not count as defined."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell

    def start(self) -> None:
        """Record from the next cell that ends; starting twice is harmless."""
        if self._finished not in self.shell.events.callbacks["post_run_cell"]:
            self.shell.events.register("post_run_cell", self._finished)

    def stop(self) -> None:
        """Stop recording cells, and forget those recorded."""
        forget_outcomes(self.shell)
        if self._finished in self.shell.events.callbacks["post_run_cell"]:
            self.shell.events.unregister("post_run_cell", self._finished)

    def _finished(self, result: ExecutionResult) -> None:
        start_early()
        if result.info is not None and result.info.store_history:
            ran = result.error_before_exec is None
            error = result.error_in_exec if ran else result.error_before_exec
            record_outcome(self.shell, result.execution_count, result.info.raw_cell, error, ran)
