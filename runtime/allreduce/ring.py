"""The collective over TCP: each rank receives from its left neighbour and sends to its right one."""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import struct
import threading

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.allreduce.collective import Array, RingBroken
from elasticdl_nb.runtime.allreduce.halves import Form, form_of
from elasticdl_nb.runtime.allreduce.schedule import bounds, first_chunk, hops, segments

WAIT_LIMIT = 600.0
"""Seconds without a byte after which a neighbour is given up. The master finds out far earlier if it is dead or hangs,
so this long wait is for one that only computes for a long time."""

SEGMENT = 1 << 19
"""Number of values added at a time while the next ones are on their way."""

SMALL = 32 << 10
"""Number of bytes that surely fit into a socket's buffer, so that sending them needs no thread."""


_LOOK_SECONDS = 0.25


class Ring:
    """See `collective.Collective`; `left` and `right` are connected sockets, encrypted or not, which it owns."""

    def __init__(
        self, rank: int, world: int, left: socket.socket, right: socket.socket, *, compression: str = "none",
        limit: float = WAIT_LIMIT, near: bool = True,
    ) -> None:  # fmt: skip
        self.rank, self.world, self.near = rank, world, near
        self._left, self._right = left, right
        self._form = form_of(compression)
        self._aborted = False
        self._spare = np.empty(0, np.uint8)
        self._flags = 0 if isinstance(left, ssl.SSLSocket) else socket.MSG_WAITALL
        for one in (left, right):
            if isinstance(one, ssl.SSLSocket):
                one.settimeout(limit)
            else:
                # The kernel keeps the deadlines, as Python's own would cost another system call each time.
                one.settimeout(None)
                time_value = struct.pack("@ll", int(limit), int(limit % 1 * 1_000_000))
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, time_value)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, time_value)
            with contextlib.suppress(OSError):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sender = _Sender(right)

    # ------------------------------------------------------------ calls

    def allreduce(self, values: Array, *, exact: bool = False) -> None:
        """See `Collective.allreduce`."""
        limits = bounds(len(values), self.world)
        form = None if exact or values.dtype != np.float32 else self._form
        small = values.nbytes <= SMALL
        mine = first_chunk(self.rank, self.world)
        for start, stop in segments(limits[mine], limits[mine + 1], SEGMENT):
            part = values[start:stop]
            self._send(part if form is None else form.encode(part), small)
        for hop in hops(self.rank, self.world):
            for start, stop in segments(limits[hop.chunk], limits[hop.chunk + 1], SEGMENT):
                self._hop(values[start:stop], form, hop.is_sum, hop.passes_on, small)
        if not small:
            self._drain()

    def _hop(self, part: Array, form: Form | None, is_sum: bool, passes_on: bool, small: bool) -> None:
        if form is None:
            if is_sum:
                self._receive(_bytes(part))
            else:
                received = self._room(part.nbytes).view(part.dtype)
                self._receive(_bytes(received))
                np.add(part, received, out=part)
            if passes_on:
                self._send(part, small)
            return
        # Data that is being sent must not be overwritten, so each part has memory of its own.
        halves = np.empty(len(part), np.uint16)
        self._receive(_bytes(halves))
        if not is_sum:
            received = self._room(part.nbytes).view(part.dtype)
            form.decode(halves, received)
            np.add(part, received, out=part)
            halves = form.encode(part)
        # A sum is rounded where it is completed, so that all ranks have the same value.
        form.decode(halves, part)
        if passes_on:
            self._send(halves, small)

    def gather(self, data: bytes) -> list[bytes]:
        """See `Collective.gather`."""
        result = [data] * self.world
        moving = np.frombuffer(data, np.uint8)
        for number in range(1, self.world):
            self._send(moving, small=True)
            moving = np.empty(len(data), np.uint8)
            self._receive(_bytes(moving))
            result[(self.rank - number) % self.world] = moving.tobytes()
        return result

    def broadcast(self, data: NDArray[np.uint8], root: int) -> None:
        """See `Collective.broadcast`."""
        is_last = (self.rank + 1) % self.world == root
        for start, stop in segments(0, len(data), SEGMENT * 4):
            if self.rank != root:
                self._receive(_bytes(data[start:stop]))
            if not is_last:
                self._send(data[start:stop], small=False)
        self._drain()

    def barrier(self) -> None:
        """See `Collective.barrier`."""
        self.gather(b"\0")
        self.gather(b"\0")

    def fileno(self) -> int:
        """See `Collective.fileno`."""
        return self._left.fileno()

    # ------------------------------------------------------------ the end

    def abort(self) -> None:
        """See `Collective.abort`."""
        self._aborted = True
        for one in (self._left, self._right):
            with contextlib.suppress(OSError):
                # Not SSLSocket's own, after which a running call would read the remaining bytes as plain text.
                socket.socket.shutdown(one, socket.SHUT_RDWR)

    def close(self) -> None:
        """See `Collective.close`."""
        self.abort()
        self._sender.close()
        self._left.close()
        self._right.close()

    # ------------------------------------------------------------ bytes

    def _room(self, nbytes: int) -> NDArray[np.uint8]:
        if len(self._spare) < nbytes:
            self._spare = np.empty(nbytes, np.uint8)
        return self._spare[:nbytes]

    def _send(self, values: Array, small: bool) -> None:
        try:
            if small:
                self._right.sendall(_bytes(values))
            else:
                self._sender.send(_bytes(values))
        except OSError as error:
            raise self._broken(error) from None

    def _drain(self) -> None:
        """Wait until everything is sent, so that the caller may change the values."""
        try:
            self._sender.drain()
        except OSError as error:
            raise self._broken(error) from None

    def _receive(self, view: memoryview) -> None:
        have, wanted = 0, len(view)
        while have < wanted:
            try:
                count = self._left.recv_into(view[have:], wanted - have, self._flags)
            except OSError as error:
                raise self._broken(error) from None
            if not count:
                raise self._broken(ConnectionError("the left neighbour closed the connection"))
            have += count

    def _broken(self, error: OSError) -> RingBroken:
        if self._aborted:
            return RingBroken("the round was abandoned")
        if isinstance(error, BlockingIOError | TimeoutError):
            return RingBroken("a neighbour was silent for too long")
        return RingBroken(str(error))


class _Sender:
    """A thread that sends what it is given, in order."""

    def __init__(self, target: socket.socket) -> None:
        self._target = target
        self._queue: queue.SimpleQueue[memoryview | threading.Event | None] = queue.SimpleQueue()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="ring-sender", daemon=True)
        self._thread.start()

    def send(self, data: memoryview) -> None:
        """Send data, which must not change until `drain` returns; raises the error of an earlier call, if any."""
        if self._error is not None:
            raise self._error
        self._queue.put(data)

    def drain(self) -> None:
        """Wait until everything is sent; raises OSError if that fails."""
        done = threading.Event()
        self._queue.put(done)
        while not done.wait(_LOOK_SECONDS):
            if not self._thread.is_alive():  # closed before it got to this
                raise OSError("the ring was closed")
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the thread; the socket must have been shut down."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
            elif self._error is None:
                try:
                    self._target.sendall(item)
                except OSError as error:
                    self._error = error


def _bytes(values: Array) -> memoryview:
    return values.view(np.uint8).data
