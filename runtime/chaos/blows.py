"""Blows to processes of this machine.

Connections are cut at the socket: a copy of the process's own descriptor is shut down (`pidfd_getfd`), so both ends
see what they see when a network fails, and the process itself is not touched. This needs Linux, and the right to trace
the process: root, or `kernel.yama.ptrace_scope=0`. Delays are made by stopping the process again and again for a short
while.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import socket
import threading
import time
from collections.abc import Mapping
from typing import Protocol

from elasticdl_nb.runtime.chaos.schedule import Cut, Delay, Signal, choose
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.storage.locks import Process

_PIDFD_GETFD = 438
_RUNS_SECONDS = 0.02
"""Between two stops of a process that is delayed."""


class Hand(Protocol):
    """What can reach a job's processes."""

    def strike(self, event: Signal | Cut | Delay) -> str:
        """Make an event happen to a process; return what was done to which one, or nothing if there is none."""
        ...


class LocalHand:
    """Reaches the processes of a job on this machine."""

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder

    def strike(self, event: Signal | Cut | Delay) -> str:
        """See `Hand`."""
        living = processes(self._folder)
        name = choose(event, list(living))
        if name is None:
            return ""
        process = living[name]
        who = f"{name} (process {process.pid})"
        match event:
            case Signal():
                _send(process, event.signal)
                if event.pause:
                    _later(event.pause, process)
                return f"{event.signal.name} to {who}" + (f" for {event.pause:g} s" if event.pause else "")
            case Cut():
                return f"{cut(process)} connection(s) of {who} cut"
            case Delay():
                threading.Thread(target=_delay, args=(process, event.late, event.pause)).start()
                return f"{who} is up to {event.late:g} s late for {event.pause:g} s"


def processes(folder: JobFolder) -> dict[str, Process]:
    """Return the job's living processes by name: "master", "supervisor", "worker-0", "ps-1", …"""
    found = {}
    for path in folder.processes.glob("*"):
        with contextlib.suppress(ValueError, FileNotFoundError):
            role, index, _ = path.name.split("-")
            found[f"{role}-{index}"] = Process.read(path)
    for name, pid in (("master", folder.master_pid()), ("supervisor", folder.supervisor())):
        if pid:
            found[name] = Process.of(pid)
    return {name: process for name, process in found.items() if process.is_alive()}


def cut(process: Process) -> int:
    """Shut down every connection of a process, and return how many there were; raise OSError if not allowed to."""
    number = 0
    watched = os.pidfd_open(process.pid)
    try:
        for descriptor, target in _descriptors(process.pid).items():
            if target.startswith("socket:"):
                number += _shut_down(watched, descriptor)
    finally:
        os.close(watched)
    return number


def _descriptors(pid: int) -> Mapping[int, str]:
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return found


def _shut_down(watched: int, descriptor: int) -> bool:
    copy = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, watched, descriptor, 0)
    if copy < 0:
        number = ctypes.get_errno()
        if number in (errno.EBADF, errno.ESRCH):  # closed since the list was made, or the process has ended
            return False
        raise OSError(number, f"connections cannot be cut: {os.strerror(number)}")
    with socket.socket(fileno=copy) as connection:
        try:
            connection.getpeername()  # those that only listen have no peer
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return False
    return True


def _send(process: Process, number: signal.Signals) -> None:
    if process.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _later(seconds: float, process: Process) -> None:
    # This thread and that of a delay are no daemons: nothing stays stopped because this program ends.
    threading.Timer(seconds, _send, (process, signal.SIGCONT)).start()


def _delay(process: Process, late: float, seconds: float) -> None:
    end = time.monotonic() + seconds
    try:
        while process.is_alive() and time.monotonic() < end:
            _send(process, signal.SIGSTOP)
            time.sleep(late)
            _send(process, signal.SIGCONT)
            time.sleep(_RUNS_SECONDS)
    finally:
        _send(process, signal.SIGCONT)
