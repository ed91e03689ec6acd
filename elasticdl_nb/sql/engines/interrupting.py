"""Runs a call that may take long in a thread, so that an interrupt can cancel it in the database and wait for its end.

Drivers do not notice signals while they wait, or lose the connection if they do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from elasticdl_nb.sql.language.errors import SqlError

_PATIENCE_SECONDS = 10.0
_POLL_SECONDS = 0.1
_T = TypeVar("_T")


class StillRunningError(SqlError):
    """A call that was cancelled has not ended; whatever it uses must not be used again."""


def interruptible(call: Callable[[], _T], cancel: Callable[[], None]) -> _T:
    """Return the call's result. An interrupt calls `cancel`, waits until the call has ended, and is raised again.

    Raises StillRunningError, caused by the interrupt, if the call does not end. Signals reach only the main thread, so
    the call of any other thread runs right here.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    outcome: list[tuple[Any, BaseException | None]] = []
    ended = threading.Event()

    def work() -> None:
        try:
            outcome.append((call(), None))
        except BaseException as error:  # raised below, in the thread that asked
            outcome.append((None, error))
        ended.set()

    thread = threading.Thread(target=work, name="sql", daemon=True)
    try:
        thread.start()
        # An interrupted `join` takes the thread for ended, and a signal may wake another thread than this one.
        while not ended.wait(_POLL_SECONDS):
            pass
    except BaseException as interrupt:
        cancel()
        if not ended.wait(_PATIENCE_SECONDS):
            raise StillRunningError("the database did not cancel the query") from interrupt
        raise
    value, error = outcome[0]
    if error is not None:
        raise error
    return value  # type: ignore[no-any-return]
