"""Ctrl-C and similar signals, as an exception that knows the exit code."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """The user or the system has asked this command to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number

    @property
    def reason(self) -> str:
        """Who interrupted it, in a few words."""
        return "Ctrl-C" if self.exit_code == 128 + signal.SIGINT else str(self)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted in the block whenever SIGINT, SIGTERM or SIGHUP arrives."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under nohup
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
