"""What the end of a process says about its cause: its own doing, or something from outside. Plain functions."""

from __future__ import annotations

import re
import signal

MAKES_WAY = 75
"""Exit status of a process that leaves although it has not failed (EX_TEMPFAIL).

Its master is gone or does not need it, or another process has to take its place.
"""

# Signals that the system sends to a process for what it did, or that it sends to itself. Others come from outside.
_OWN = {
    signal.SIGILL: "native code that the model or its data uses was made for another processor, or is damaged",
    signal.SIGTRAP: "native code that the model or its data uses stopped itself",
    signal.SIGABRT: "native code that the model or its data uses gave up; the end of the log may say why",
    signal.SIGBUS: "a file that the process had mapped was truncated, or shared memory ran out",
    signal.SIGFPE: "native code that the model or its data uses divided by zero",
    signal.SIGSEGV: "native code that the model or its data uses has a mistake",
    signal.SIGSYS: "a system call is not allowed here",
    signal.SIGXCPU: "a limit on processor time (ulimit -t)",
    signal.SIGXFSZ: "a limit on the size of files (ulimit -f)",
}
_DISK = re.compile(r"No space left on device|Disk quota exceeded|Read-only file system", re.IGNORECASE)
_MEMORY = re.compile(
    r"MemoryError|bad_alloc|Cannot allocate memory|ResourceExhausted|OOM when allocating|out of memory|memory ran out|"
    r"more memory than",
    re.IGNORECASE,
)


def is_own_doing(code: int) -> bool:
    """Whether a process that ended with this exit code, or negative signal, was itself the cause."""
    return code != MAKES_WAY if code >= 0 else -code in _OWN


def how_it_ended(code: int) -> str:
    """Return the end of a process in words, such as "ended with exit code 7"."""
    if code >= 0:
        return f"ended with exit code {code}"
    return f"crashed ({signal.Signals(-code).name})" if -code in _OWN else f"was killed by signal {-code}"


def likely_cause(code: int | None, said: str) -> str:
    """Return the likely cause of a crash; `said` is the end of the log, or what the platform says.

    Without a code, only what was said counts.
    """
    if _DISK.search(said):
        return "a disk is full or cannot be written"
    if _MEMORY.search(said):
        return "memory ran out; smaller batches, or more memory, are the usual cures"
    if code is None:
        return "see the end of its log"
    if code < 0:
        return _OWN.get(signal.Signals(-code), "something from outside")
    return "the model's code, or a library that it uses, ended the process"
