"""Memory that a worker and a server on the same machine share: arrays of their messages need not pass through sockets.

A worker makes a file that has no name (memfd), and tells a server over their connection, which both have authenticated,
how to open it through /proc, with a secret that it begins with. So only processes of the same user on the same machine
can do that, nothing is left of it when they die, and no file system needs room for it. Where anything about this does
not work, messages travel through the socket as a whole.

The worker decides what lies where: each of its requests names the bytes of its own arrays, and others for those of the
answer. They are free again once the answer is there, and nobody uses its arrays any longer.
"""

from __future__ import annotations

import fcntl
import itertools
import mmap
import os
import re
import secrets
import stat
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.ps.arena import ALIGNMENT, Arena

Bytes = NDArray[np.uint8]

SIZE = 256 << 20
"""Bytes of addresses; memory is taken where messages need it. Larger messages travel through the socket."""

LEAST = 16 << 10
"""Arrays that have fewer bytes together are copied through the socket as fast."""

_NAME = "elasticdl-messages"
_LINK = re.compile(rf"/memfd:{_NAME}\b.*")
_SECRET = 32
_COMMIT = 1 << 20


class Block:
    """Bytes of a segment that are in use until this object is gone, and every array made of it: `np.asarray(block)`."""

    def __init__(self, segment: Segment, start: int, size: int) -> None:
        self.start, self.size = start, size
        self._memory, self._returned = segment.memory, segment.returned
        address = self._memory.__array_interface__["data"][0] + start
        self.__array_interface__ = {"data": (address, False), "shape": (size,), "typestr": "|u1", "version": 3}

    def __del__(self) -> None:
        self._returned.append(self.start)


class Segment:
    """A worker's end. Raises OSError where there is no such memory."""

    def __init__(self, size: int = SIZE) -> None:
        if not hasattr(os, "memfd_create"):
            raise OSError("no files without names")
        self._file = os.memfd_create(_NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self._file, size)
            # Nobody can take memory away that the other maps.
            fcntl.fcntl(self._file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
            fcntl.flock(self._file, fcntl.LOCK_EX)  # until this process ends, or `close`
            self.memory: Bytes = np.frombuffer(mmap.mmap(self._file, size), np.uint8)
            self._committed = 0
            self._commit(_SECRET)
        except (OSError, ValueError):
            os.close(self._file)
            raise
        self._secret = secrets.token_bytes(_SECRET)
        self.memory[:_SECRET] = np.frombuffer(self._secret, np.uint8)
        self.returned: deque[int] = deque()  # a block may end in any thread, even while one is taken
        self._arena = Arena(size, start=_SECRET)
        self._retired = False
        self._lock = threading.Lock()

    def offer(self) -> dict[str, Any]:
        """Return what `Opened` takes, as plain JSON values."""
        return {"process": os.getpid(), "file": self._file, "secret": self._secret.hex()}

    def block(self, size: int) -> Block | None:
        """Return memory that nobody uses; None if there is not that much."""
        with self._lock:
            if self._retired:
                return None
            while self.returned:
                self._arena.give(self.returned.popleft())
            start = self._arena.take(size)
            if start is None:
                return None
            try:
                self._commit(start + size)
            except OSError:  # the machine, or what this process may use of it, is full
                self._arena.give(start)
                return None
        return Block(self, start, size)

    def _commit(self, stop: int) -> None:
        """Take memory for the first bytes, as the system would kill who writes to memory that it does not have."""
        if stop > self._committed:
            more = min(stop - self._committed + _COMMIT, len(self.memory) - self._committed)
            os.posix_fallocate(self._file, self._committed, more)
            self._committed += more

    def retire(self) -> None:
        """Give out no further memory: a server that was given up may still read what it was sent, after a pause."""
        with self._lock:
            self._retired = True

    def close(self) -> None:
        """Let servers know that there are no further requests; arrays of answers stay."""
        if self._file >= 0:
            fcntl.flock(self._file, fcntl.LOCK_UN)  # the mapping has the file open, too
            os.close(self._file)
            self._file = -1


class Opened:
    """A server's end of a segment. Raises OSError or ValueError for whatever is not what a worker has offered."""

    def __init__(self, process: int, file: int, secret: str) -> None:
        path = f"/proc/{process}/fd/{file}"
        if not _LINK.fullmatch(os.readlink(path)):
            raise ValueError("another file")
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            facts = os.fstat(self._file)
            if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
                raise ValueError("another user's file")
            if not fcntl.fcntl(self._file, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
                raise ValueError("a file that may shrink")
            memory = mmap.mmap(self._file, facts.st_size)
            if not secrets.compare_digest(memory[:_SECRET], bytes.fromhex(secret)):
                raise ValueError("another worker's memory")
            self.memory: Bytes = np.frombuffer(memory, np.uint8)
        except (OSError, ValueError):
            os.close(self._file)
            raise

    @property
    def is_left(self) -> bool:
        """Whether the worker has died, or has closed it."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Give it back; arrays that are still in use keep its memory."""
        os.close(self._file)


class OpenSegments:
    """The segments that a server has opened, by numbers of its own from 1 on."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._opened: dict[int, Opened] = {}

    def open(self, offer: Mapping[str, Any]) -> int:
        """Open what a worker offers, and return its number; 0 if that is not possible. Those of others who left end."""
        for number, one in [*self._opened.items()]:
            if one.is_left:
                del self._opened[number]
                one.close()
        try:
            opened = Opened(int(offer["process"]), int(offer["file"]), str(offer["secret"]))
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        number = next(self._numbers)
        self._opened[number] = opened
        return number

    def bytes_from(self, number: int, start: int) -> Bytes | None:
        """Return the bytes of a segment from there on; None if it has none."""
        opened = self._opened.get(number)
        if opened is None or start % ALIGNMENT or start > len(opened.memory):
            return None
        return opened.memory[start:]

    def close(self) -> None:
        """Give all of them back."""
        for one in self._opened.values():
            one.close()
        self._opened.clear()
