"""Requests to parameter servers and their answers: callers send and get futures; who waits for one, receives.

An answer that another thread receives costs a small step of training a tenth of its time. So there is a turn, and the
thread that has it receives for all: the first of those that wait, or else a thread of this module, which also looks
after connections that nobody waits for.

Every socket has a lock, because only one thread at a time may use a ZeroMQ socket. Whoever has the turn waits on the
sockets' file descriptors without holding the locks. A descriptor signals only changes, so code that has used a socket
must make the one who waits check whether there is something to receive.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import zmq
from numpy.typing import NDArray
from zmq.utils.monitor import recv_monitor_message

from elasticdl_nb.runtime.errors import DataError, JobFailed, ModelError
from elasticdl_nb.runtime.parameters.api import ServersLost
from elasticdl_nb.runtime.protocol.network import is_loopback
from elasticdl_nb.runtime.ps.limits import refuse
from elasticdl_nb.runtime.ps.requests import Content
from elasticdl_nb.runtime.ps.security import connect, is_encrypted
from elasticdl_nb.runtime.ps.segment import LEAST, Block, Segment
from elasticdl_nb.runtime.ps.server import LOST
from elasticdl_nb.runtime.ps.wire import (
    LIMITS,
    Buffer,
    Kind,
    Limits,
    Message,
    Shared,
    WireError,
    cut,
    decode,
    encode,
    extent,
    frame_key,
    joined,
    place,
)

_ENDS: dict[int, str] = {
    zmq.EVENT_DISCONNECTED: "the connection broke",
    zmq.EVENT_CLOSED: "nothing answers at that address",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "it refuses this job's token",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "it uses a different protocol",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "it ended the handshake",
}
_EVENTS = sum(_ENDS)
_LOOK = 0.25
"""Seconds between two checks of the deadlines."""

_HEAD = 2  # frames without arrays

T = TypeVar("T")

_ERRORS = {"data": DataError, "model": ModelError, LOST: ServersLost}


@dataclass
class _Server:
    number: int
    address: str
    socket: zmq.Socket[bytes]
    monitor: zmq.Socket[bytes]
    lock: threading.Lock = field(default_factory=threading.Lock)
    pending: dict[int, _Request] = field(default_factory=dict)
    lost: str = ""
    segment: Segment | None = None
    segment_number: int = 0

    @property
    def in_pieces(self) -> bool:
        return is_encrypted(self.address)

    def memory_of(self, request: int, shared: Shared) -> NDArray[np.uint8] | None:
        """Return the memory that was set aside for an answer; it is in use as long as any array of it."""
        asked = self.pending.get(request)
        if asked is None or asked.room is None or asked.room.start != shared.start:
            return None
        return np.asarray(asked.room)

    def error(self, reason: str) -> ServersLost:
        return ServersLost(f"parameter server {self.number} at {self.address} is lost: {reason}")


@dataclass
class _Request:
    deadline: float
    timeout: float
    future: Future[Message]
    own: Block | None = None
    room: Block | None = None
    """Shared memory that has the request's arrays, and that which is for the answer's."""


class Awaited(Future[T]):
    """A future that depends on answers: `receive` receives them until a future is done, or for so many seconds."""

    def __init__(self, receive: Callable[[Future[Any], float | None], None]) -> None:
        super().__init__()
        self._receive = receive

    def result(self, timeout: float | None = None) -> T:
        """See `Future.result`."""
        if not self.done():
            self._receive(self, timeout)
        return super().result(0 if timeout is not None else None)


class _Signal:
    """Wakes a thread that polls `read`."""

    def __init__(self) -> None:
        self.read, self._write = os.pipe()
        os.set_blocking(self.read, False)
        os.set_blocking(self._write, False)
        self._lock = threading.Lock()
        self._closed = False

    def send(self) -> None:
        """Wake it, or let its next poll return at once."""
        with self._lock, contextlib.suppress(BlockingIOError):
            if not self._closed:  # the number may be another file's by now
                os.write(self._write, b"\0")

    def clear(self) -> None:
        """Forget what was sent so far."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.read, 4096)

    def close(self) -> None:
        """Give the files back; nobody polls any longer."""
        with self._lock:
            self._closed = True
            os.close(self.read)
            os.close(self._write)


class Transport:
    """Connections to the servers at `addresses` (see `security`), all of one generation of a job.

    When a server dies, stops answering or is cut off, every request to it fails with ServersLost: at once if its
    connection ends, and at the request's deadline in any case. Connections are never re-established. A request that is
    too large for its server (`limits`) fails with DataError, and is not sent.
    """

    def __init__(
        self, addresses: Sequence[str], token: str, generation: int, limits: Sequence[Limits] | None = None
    ) -> None:
        self._generation = generation
        self._limits = limits or [LIMITS] * len(addresses)
        self._key = frame_key(token)
        self._numbers = itertools.count(1)
        self._closed = False
        self._turn = threading.Lock()
        self._waited_for: set[Future[Any]] = set()
        self._to_thread, self._to_turn = _Signal(), _Signal()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._servers = [self._connect(number, address, token) for number, address in enumerate(addresses)]
        self._poll = select.poll()
        self._poll.register(self._to_turn.read, select.POLLIN)
        for one in self._servers:
            self._poll.register(int(one.socket.fd), select.POLLIN)
            self._poll.register(int(one.monitor.fd), select.POLLIN)
        self._thread = threading.Thread(target=self._run, name="parameter-servers", daemon=True)
        self._thread.start()

    def _connect(self, number: int, address: str, token: str) -> _Server:
        far = is_encrypted(address) and not is_loopback(address.partition("://")[2].rpartition(":")[0])
        socket = self._context.socket(zmq.DEALER)
        socket.linger = 0
        socket.maxmsgsize = LIMITS.frame
        socket.setsockopt(zmq.RECONNECT_IVL, -1)
        socket.setsockopt(zmq.CONNECT_TIMEOUT, 5000)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 1000)
        # Between machines, one large answer may take seconds, during which nothing else arrives.
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 30_000 if far else 5000)
        monitor = socket.get_monitor_socket(_EVENTS)
        connect(socket, token, address)
        return _Server(number, address, socket, monitor)

    def __len__(self) -> int:
        return len(self._servers)

    def share(self, server: int, segment: Segment, number: int) -> None:
        """From now on, arrays of messages to and from a server may be in this memory, which it knows by a number."""
        self._servers[server].segment, self._servers[server].segment_number = segment, number

    def request(self, server: int, kind: Kind, content: Content, timeout: float, room: int = 0) -> Future[Message]:
        """Send a request; its future holds the answer, or ServersLost, DataError, ModelError or JobFailed.

        Large arrays must not change until then. The answer's arrays take `room` bytes at most (`extent`), if that is
        known. Raises ServersLost if this connection was closed.
        """
        to, limits = self._servers[server], self._limits[server]
        message = Message(kind, self._generation, next(self._numbers), *content)
        future: Future[Message] = Awaited(self.receive)
        request = _Request(time.monotonic() + timeout, timeout, future)
        size = extent(message.arrays)
        if (segment := to.segment) is not None and max(size, room) >= LEAST and size <= limits.message:
            message = _placed(message, size, room, request, segment, to.segment_number)
        frames = encode(message, self._key)
        sizes = [len(frame) for frame in frames] + ([] if request.own is None else [size])
        if not limits.allow(sizes):
            future.set_exception(refuse(sum(sizes), limits))
            return future
        if to.in_pieces:
            frames = cut(frames)
        with to.lock:
            if self._closed:
                raise ServersLost("the connection to the parameter servers was closed")
            if to.lost:
                future.set_exception(to.error(to.lost))
                return future
            to.pending[message.request] = request
            try:
                # A frame that is not copied has to be given back by another thread.
                to.socket.send_multipart(frames, zmq.NOBLOCK, copy=len(frames) <= _HEAD)
            except zmq.ZMQError as error:
                to.lost = str(error)
        if to.lost:
            self._fail(to)
        if self._turn.locked():
            self._to_turn.send()
        return future

    def close(self) -> None:
        """Close the connections; pending requests fail."""
        if not self._closed:
            self._closed = True
            self._to_turn.send()
            self._to_thread.send()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5.0)

    # ------------------------------------------------------------ receiving

    def receive(self, future: Future[Any], timeout: float | None = None) -> None:
        """Wait until a future is done, and receive meanwhile, unless another thread does."""
        self._waited_for.add(future)  # before the attempt: whoever has the turn looks here after giving it up
        try:
            if self._turn.acquire(blocking=False):
                try:
                    self._receive_until(future.done, timeout)
                finally:
                    self._turn.release()
            else:
                wait([future], timeout)
        finally:
            self._waited_for.discard(future)
        if not self._nobody_waits():
            self._to_thread.send()

    def _nobody_waits(self) -> bool:
        return all(future.done() for future in [*self._waited_for])

    def _receive_until(self, done: Callable[[], bool], timeout: float | None = None) -> None:
        """Receive; only for the thread that has the turn."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self._closed:
            for server in self._servers:
                with server.lock:
                    answers = self._received(server)
                self._resolve(server, answers)
                self._watch(server)
                self._check_deadlines(server)
            left = _LOOK if end is None else min(_LOOK, end - time.monotonic())
            if done() or left < 0:
                return
            self._poll.poll(left * 1000)
            self._to_turn.clear()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._to_thread.read, select.POLLIN)
        try:
            while not self._closed:
                while self._turn.acquire(blocking=False):
                    try:
                        self._receive_until(self._nobody_waits)
                    finally:
                        self._turn.release()
                    if self._closed or self._nobody_waits():
                        break
                poll.poll(_LOOK * 1000)
                self._to_thread.clear()
        finally:
            self._closed = True
            self._to_turn.send()
            with self._turn:
                self._wind_up()

    def _received(self, server: _Server) -> list[tuple[_Request, Message]]:
        """Return the answers that have arrived; the caller must hold the server's lock."""
        answers = []
        while not server.lost and _readable(server.socket):
            frames = server.socket.recv_multipart(zmq.NOBLOCK, copy=False)
            try:
                buffers: Sequence[Buffer] = [frame.buffer for frame in frames]
                message = decode(joined(buffers) if server.in_pieces else buffers, self._key, memory=server.memory_of)
            except WireError as error:
                server.lost = f"it sent an invalid answer ({error})"
                break
            request = server.pending.pop(message.request, None)
            if request is not None:
                answers.append((request, message))
        return answers

    def _resolve(self, server: _Server, answers: list[tuple[_Request, Message]]) -> None:
        """Set the futures. Their callbacks may send, so no lock is held here."""
        for request, message in answers:
            if message.kind == Kind.REPLY:
                request.future.set_result(message)
                continue
            text = str(message.meta.get("message"))
            error = _ERRORS.get(str(message.meta.get("code")), JobFailed)
            request.future.set_exception(server.error(text) if error is ServersLost else error(text))

    def _watch(self, server: _Server) -> None:
        while _readable(server.monitor):
            event = recv_monitor_message(server.monitor, zmq.NOBLOCK)["event"]
            if event in _ENDS:
                server.lost = server.lost or _ENDS[event]
        if server.lost:
            self._fail(server)

    def _check_deadlines(self, server: _Server) -> None:
        now = time.monotonic()
        with server.lock:
            late = next((request for request in server.pending.values() if request.deadline <= now), None)
        if late is not None:
            server.lost = f"no answer within {late.timeout:g} seconds"
            self._fail(server)

    def _fail(self, server: _Server) -> None:
        """Fail all requests to a server that is lost."""
        if server.segment is not None:
            server.segment.retire()  # before the requests give back what it may still read
        with server.lock:
            failed, server.pending = server.pending, {}
        for request in failed.values():
            request.future.set_exception(server.error(server.lost))

    def _wind_up(self) -> None:
        for server in self._servers:
            server.lost = server.lost or "the connection was closed"
            self._fail(server)
            with server.lock:
                server.socket.disable_monitor()
                server.monitor.close()
                server.socket.close()
                if server.segment is not None:
                    server.segment.close()
                    server.segment = None
        self._context.term()
        self._to_turn.close()
        self._to_thread.close()


def _readable(socket: zmq.Socket[bytes]) -> bool:
    return bool(int(socket.events) & zmq.POLLIN)


def _placed(message: Message, size: int, room: int, request: _Request, segment: Segment, number: int) -> Message:
    """Return a message whose arrays are in shared memory, as far as there is any, with room for the answer's."""
    request.own = segment.block(size) if size >= LEAST else None
    request.room = segment.block(room) if room >= LEAST else None
    if request.own is not None:
        place(message.arrays, np.asarray(request.own))
    elif request.room is None:
        return message
    start = None if request.own is None else request.own.start
    answer = (0, 0) if request.room is None else (request.room.start, request.room.size)
    return replace(message, shared=Shared(number, start, *answer))
