"""Requests to parameter servers and their answers: one thread owns the sockets, callers hold futures."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import zmq
from zmq.utils.monitor import recv_monitor_message

from elasticdl_nb.runtime.errors import DataError, JobFailed, ModelError
from elasticdl_nb.runtime.ps.api import ServersLost
from elasticdl_nb.runtime.ps.requests import Content
from elasticdl_nb.runtime.ps.security import is_loopback, secure_client
from elasticdl_nb.runtime.ps.server import LOST
from elasticdl_nb.runtime.ps.wire import LIMITS, Buffer, Kind, Message, WireError, decode, encode, frame_key

_ENDS: dict[int, str] = {
    zmq.EVENT_DISCONNECTED: "the connection broke",
    zmq.EVENT_CLOSED: "nobody answers there",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "it refuses this job's token",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "it speaks another protocol",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "it ended the handshake",
}
_EVENTS = sum(_ENDS)
_ERRORS = {"data": DataError, "model": ModelError, LOST: ServersLost}


@dataclass
class _Server:
    number: int
    address: str
    socket: zmq.Socket[bytes]
    monitor: zmq.Socket[bytes]
    lost: str = ""

    def error(self, reason: str) -> ServersLost:
        return ServersLost(f"parameter server {self.number} at {self.address} is lost: {reason}")


@dataclass
class _Request:
    server: _Server
    number: int
    frames: list[Buffer]
    deadline: float
    timeout: float
    future: Future[Message]


class Transport:
    """Connections to the servers at `addresses` ("tcp://HOST:PORT"), all of one generation of a job.

    A server that dies, stops answering or is cut off makes every request to it fail with ServersLost, at once where
    its connection ends, and at the request's deadline in any case. Connections are not made again.
    """

    def __init__(self, addresses: Sequence[str], token: str, generation: int) -> None:
        self._generation = generation
        self._key = frame_key(token)
        self._numbers = itertools.count(1)
        self._queue: deque[_Request] = deque()
        self._pending: dict[int, _Request] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._servers = [self._connect(number, address, token) for number, address in enumerate(addresses)]
        self._thread = threading.Thread(target=self._run, name="parameter-servers", daemon=True)
        self._thread.start()

    def _connect(self, number: int, address: str, token: str) -> _Server:
        host = address.removeprefix("tcp://").rpartition(":")[0]
        socket = self._context.socket(zmq.DEALER)
        socket.linger = 0
        socket.maxmsgsize = LIMITS.frame
        socket.ipv6 = ":" in host
        socket.setsockopt(zmq.RECONNECT_IVL, -1)
        socket.setsockopt(zmq.CONNECT_TIMEOUT, 5000)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 1000)
        # Between machines one large answer may take seconds, during which nothing else is heard.
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 5000 if is_loopback(host) else 30_000)
        secure_client(socket, token, host)
        monitor = socket.get_monitor_socket(_EVENTS)
        socket.connect(address)
        return _Server(number, address, socket, monitor)

    def __len__(self) -> int:
        return len(self._servers)

    def request(self, server: int, kind: Kind, content: Content, timeout: float) -> Future[Message]:
        """Send a request; its future has the answer, or ServersLost, DataError, ModelError or JobFailed.

        Large arrays must not change until then.
        """
        number = next(self._numbers)
        frames = encode(Message(kind, self._generation, number, *content), self._key)
        future: Future[Message] = Future()
        request = _Request(self._servers[server], number, frames, time.monotonic() + timeout, timeout, future)
        with self._lock:
            if self._closed:
                raise ServersLost("the connection to the parameter servers was closed")
            self._queue.append(request)
        self._wake()
        return future

    def close(self) -> None:
        """End the connections; requests under way fail."""
        with self._lock:
            self._closed = True
        self._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5.0)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._wake_write, b"\0")

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._wake_read, zmq.POLLIN)
        sockets = {}
        for server in self._servers:
            for socket in (server.socket, server.monitor):
                poller.register(socket, zmq.POLLIN)
                sockets[socket] = server
        try:
            while not self._closed:
                ready = dict(poller.poll(self._until_deadline()))
                if self._wake_read in ready:
                    os.read(self._wake_read, 4096)
                self._send_queued()
                for socket, server in sockets.items():
                    if socket in ready:
                        self._watch(server) if socket is server.monitor else self._receive(server)
                self._check_deadlines()
        finally:
            self._wind_up()

    def _until_deadline(self) -> int | None:
        """Return milliseconds; None without requests under way."""
        if not self._pending:
            return None
        nearest = min(request.deadline for request in self._pending.values())
        return max(0, math.ceil((nearest - time.monotonic()) * 1000))

    def _send_queued(self) -> None:
        while self._queue:
            request = self._queue.popleft()
            if request.server.lost:
                request.future.set_exception(request.server.error(request.server.lost))
                continue
            self._pending[request.number] = request
            try:
                request.server.socket.send_multipart(request.frames, zmq.NOBLOCK, copy=False)
            except zmq.ZMQError as error:
                self._lose(request.server, str(error))

    def _receive(self, server: _Server) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                frames = server.socket.recv_multipart(zmq.NOBLOCK, copy=False)
                try:
                    message = decode([frame.buffer for frame in frames], self._key)
                except WireError as error:
                    self._lose(server, f"it answers nonsense ({error})")
                    return
                request = self._pending.pop(message.request, None)
                if request is not None:
                    self._resolve(request, message)

    def _resolve(self, request: _Request, message: Message) -> None:
        if message.kind == Kind.REPLY:
            request.future.set_result(message)
            return
        text = str(message.meta.get("message"))
        error = _ERRORS.get(str(message.meta.get("code")), JobFailed)
        request.future.set_exception(request.server.error(text) if error is ServersLost else error(text))

    def _watch(self, server: _Server) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                event = recv_monitor_message(server.monitor, zmq.NOBLOCK)["event"]
                if event in _ENDS:
                    self._lose(server, _ENDS[event])

    def _lose(self, server: _Server, reason: str) -> None:
        server.lost = server.lost or reason
        for request in [request for request in self._pending.values() if request.server is server]:
            del self._pending[request.number]
            request.future.set_exception(server.error(server.lost))

    def _check_deadlines(self) -> None:
        now = time.monotonic()
        for request in [request for request in self._pending.values() if request.deadline <= now]:
            self._lose(request.server, f"no answer within {request.timeout:g} seconds")

    def _wind_up(self) -> None:
        with self._lock:
            self._closed = True
        for request in (*self._pending.values(), *self._queue):
            request.future.set_exception(request.server.error("the connection was closed"))
        for server in self._servers:
            server.socket.disable_monitor()
            server.monitor.close()
            server.socket.close()
        self._context.term()
        os.close(self._wake_read)
        os.close(self._wake_write)
