"""The cells that an IPython shell has executed. Works with the shell that it is given, and does not import IPython."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from elasticdl_nb.capture.cells import Cell


class Shell(Protocol):
    """The part of an IPython `InteractiveShell` that capture reads."""

    user_ns: dict[str, Any]
    history_manager: Any

    def transform_cell(self, raw_cell: str) -> str:
        """Return a cell as plain Python."""


@dataclass(frozen=True)
class Outcome:
    """How a cell ended: `stopped_at` is the line of the transformed cell at which it raised, if it did."""

    raw: str
    succeeded: bool
    stopped_at: int | None


_outcomes: weakref.WeakKeyDictionary[Any, dict[int, Outcome]] = weakref.WeakKeyDictionary()


def record_outcome(shell: Shell, number: int | None, raw: str, error: BaseException | None, ran: bool) -> None:
    """Remember how cell `number` ended; `ran` is False if it was not even started (a syntax error)."""
    if number is not None:
        stopped_at = _line_in_cell(error.__traceback__, shell.user_ns) if error is not None and ran else None
        _outcomes.setdefault(shell, {})[number] = Outcome(raw, error is None, stopped_at)


def forget_outcomes(shell: Shell) -> None:
    """Drop everything recorded about a shell's cells."""
    _outcomes.pop(shell, None)


def executed_cells(shell: Shell) -> list[Cell]:
    """Every cell in the order of execution, as Python, with what is known about how it ended."""
    history = shell.history_manager
    raw_cells, parsed_cells = list(history.input_hist_raw), list(history.input_hist_parsed)
    known = _outcomes.get(shell, {})
    # What IPython itself keeps (since 8.32), for the cells that ran before the first recorded one.
    failed = getattr(history, "exceptions", None) or {}
    cells = []
    for number, raw in enumerate(raw_cells):
        if not raw.strip():
            continue
        source = parsed_cells[number] if len(parsed_cells) == len(raw_cells) else _transformed(shell, raw)
        outcome = known.get(number)
        if outcome is not None and outcome.raw.strip() == raw.strip():
            cells.append(Cell(number, source, outcome.succeeded, outcome.stopped_at))
        else:
            cells.append(Cell(number, source, False if number in failed else None))
    return cells


def _transformed(shell: Shell, raw: str) -> str:
    try:
        return shell.transform_cell(raw)
    except SyntaxError:
        return ""


def _line_in_cell(traceback: TracebackType | None, namespace: dict[str, Any]) -> int | None:
    """The line in the outermost frame of the notebook's namespace: the cell itself."""
    while traceback is not None:
        if traceback.tb_frame.f_globals is namespace:
            return traceback.tb_lineno
        traceback = traceback.tb_next
    return None
