"""Requests to parameter servers and their answers: callers send and get futures, and one thread receives.

Every socket has a lock, because only one thread at a time may use a ZeroMQ socket. The thread waits on the sockets'
file descriptors without holding the locks. A descriptor signals only changes, so code that has used a socket must check
whether there is something to receive.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import zmq
from zmq.utils.monitor import recv_monitor_message

from elasticdl_nb.runtime.errors import DataError, JobFailed, ModelError
from elasticdl_nb.runtime.parameters.api import ServersLost
from elasticdl_nb.runtime.protocol.network import is_loopback
from elasticdl_nb.runtime.ps.limits import refuse
from elasticdl_nb.runtime.ps.requests import Content
from elasticdl_nb.runtime.ps.security import connect, is_encrypted
from elasticdl_nb.runtime.ps.server import LOST
from elasticdl_nb.runtime.ps.wire import (
    LIMITS,
    Buffer,
    Kind,
    Limits,
    Message,
    WireError,
    cut,
    decode,
    encode,
    frame_key,
    joined,
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

    @property
    def in_pieces(self) -> bool:
        return is_encrypted(self.address)

    def error(self, reason: str) -> ServersLost:
        return ServersLost(f"parameter server {self.number} at {self.address} is lost: {reason}")


@dataclass
class _Request:
    deadline: float
    timeout: float
    future: Future[Message]


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
        self._wake_read, self._wake_write = os.pipe()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._servers = [self._connect(number, address, token) for number, address in enumerate(addresses)]
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

    def request(self, server: int, kind: Kind, content: Content, timeout: float) -> Future[Message]:
        """Send a request; its future holds the answer, or ServersLost, DataError, ModelError or JobFailed.

        Large arrays must not change until then. Raises ServersLost if this connection was closed.
        """
        number = next(self._numbers)
        frames = encode(Message(kind, self._generation, number, *content), self._key)
        future: Future[Message] = Future()
        to = self._servers[server]
        sizes = [len(frame) for frame in frames]
        if not self._limits[server].allow(sizes):
            future.set_exception(refuse(sum(sizes), self._limits[server]))
            return future
        if to.in_pieces:
            frames = cut(frames)
        with to.lock:
            if self._closed:
                raise ServersLost("the connection to the parameter servers was closed")
            if to.lost:
                future.set_exception(to.error(to.lost))
                return future
            to.pending[number] = _Request(time.monotonic() + timeout, timeout, future)
            try:
                to.socket.send_multipart(frames, zmq.NOBLOCK, copy=False)
            except zmq.ZMQError as error:
                to.lost = str(error)
            answers = self._received(to)
        self._resolve(to, answers)
        if to.lost:
            self._fail(to)
        return future

    def close(self) -> None:
        """Close the connections; pending requests fail."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(OSError):
                os.write(self._wake_write, b"\0")
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5.0)

    # ------------------------------------------------------------ receiving

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        for server in self._servers:
            poll.register(int(server.socket.fd), select.POLLIN)
            poll.register(int(server.monitor.fd), select.POLLIN)
        try:
            while not self._closed:
                for server in self._servers:
                    with server.lock:
                        answers = self._received(server)
                    self._resolve(server, answers)
                    self._watch(server)
                    self._check_deadlines(server)
                poll.poll(_LOOK * 1000)
        finally:
            self._wind_up()

    def _received(self, server: _Server) -> list[tuple[_Request, Message]]:
        """Return the answers that have arrived; the caller must hold the server's lock."""
        answers = []
        while not server.lost and _readable(server.socket):
            frames = server.socket.recv_multipart(zmq.NOBLOCK, copy=False)
            try:
                buffers: Sequence[Buffer] = [frame.buffer for frame in frames]
                message = decode(joined(buffers) if server.in_pieces else buffers, self._key)
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
        with server.lock:
            failed, server.pending = server.pending, {}
        for request in failed.values():
            request.future.set_exception(server.error(server.lost))

    def _wind_up(self) -> None:
        self._closed = True
        for server in self._servers:
            server.lost = server.lost or "the connection was closed"
            self._fail(server)
            with server.lock:
                server.socket.disable_monitor()
                server.monitor.close()
                server.socket.close()
        self._context.term()
        os.close(self._wake_read)
        os.close(self._wake_write)


def _readable(socket: zmq.Socket[bytes]) -> bool:
    return bool(int(socket.events) & zmq.POLLIN)
