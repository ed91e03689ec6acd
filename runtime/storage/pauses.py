"""When to try again what could not be written, or read: soon at first, then ever more rarely. No clock in here."""

from __future__ import annotations

import errno
from collections.abc import Callable

FIRST, LONGEST = 10.0, 600.0
"""Seconds of the first pause, and of the longest."""
LONGEST_WAIT = 30.0
"""Seconds of the longest pause where a job waits for nothing else."""


def pause_after(failures: int) -> float:
    """Return how many seconds to wait after so many failures in a row, at least one."""
    return min(FIRST * 2.0 ** min(failures - 1, 30), LONGEST)


def may_pass(error: OSError) -> bool:
    """Whether what could not be written may be written later, as it says nothing of the content: the disk is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def write_at_last(
    write: Callable[[], None], what: str, note: Callable[[str, str], None], sleep: Callable[[float], object]
) -> None:
    """Write something that a job cannot go on without, as soon as it is possible; `note` takes (level, text) for users.

    Raises the OSError of `write` if waiting cannot help.
    """
    failures = 0
    while True:
        try:
            write()
        except OSError as error:
            if not may_pass(error):
                raise
            failures += 1
            if failures == 1:
                note("warning", f"{what} could not be written: {error}; the job waits until it can be")
            sleep(min(pause_after(failures), LONGEST_WAIT))
        else:
            if failures:
                note("info", f"{what} can be written again; the job goes on")
            return
