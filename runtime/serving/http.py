"""TensorFlow Serving's REST interface, over HTTP/1.1.

Without a token, whoever can reach the port may ask. That excludes web pages: requests for another host name, or that
say they come from a page, are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import re
import ssl
import time
from dataclasses import dataclass
from typing import Any

import h11

from elasticdl_nb.runtime.protocol.serving_pb2 import ModelVersionStatus
from elasticdl_nb.runtime.serving.answers import OTHER_VERBS, SIGNATURE, Answers
from elasticdl_nb.runtime.serving.form import Form
from elasticdl_nb.runtime.serving.jsonforms import Request, answer
from elasticdl_nb.runtime.serving.limits import (
    BODY_SECONDS,
    HEAD_BYTES,
    IDLE_SECONDS,
    MOST_CONNECTIONS,
    MOST_STRANGERS,
    READ_BYTES,
    STRANGERS_SECONDS,
)  # fmt: skip
from elasticdl_nb.runtime.serving.metrics import Metrics
from elasticdl_nb.runtime.serving.problems import Refused
from elasticdl_nb.runtime.serving.streams import Stream, TlsStream
from elasticdl_nb.runtime.serving.versions import Version

logger = logging.getLogger(__name__)

_MODEL = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d{1,19})|/labels/([^/:]+))?(/metadata)?(?::([a-z]+))?")
_METRICS = ("/metrics", "/monitoring/prometheus/metrics")
_LOCAL = ("127.0.0.1", "localhost", "[::1]")
_JSON, _TEXT = "application/json", "text/plain; version=0.0.4; charset=utf-8"
_VERSIONS = (b"1.0", b"1.1")


@dataclass(frozen=True)
class Access:
    """Who may ask: those who send the token, if there is one; `local` if the port is on the loopback address."""

    token: str
    local: bool

    def admits(self, headers: dict[str, str]) -> tuple[int, str]:
        """Return an HTTP status and why a request is refused, or (0, "")."""
        if self.token:
            given = headers.get("authorization", "").encode("latin-1")
            known = hmac.compare_digest(given, f"Bearer {self.token}".encode())
            return (
                (0, "") if known else (401, "this server needs its token: send the header Authorization: Bearer TOKEN")
            )
        host = headers.get("host", "")
        name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
        if self.local and name not in _LOCAL:
            return 421, "this server is called localhost"
        return (403, "requests of web pages are refused") if "origin" in headers else (0, "")


class HttpServer:
    """Serves until it is closed; a request has at most `largest` bytes."""

    def __init__(self, answers: Answers, metrics: Metrics, access: Access, largest: int) -> None:
        self._answers, self._metrics, self._access, self._largest = answers, metrics, access, largest
        self._server: asyncio.Server | None = None
        self._tls: ssl.SSLContext | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._strangers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}  # the oldest first
        self._busy: set[asyncio.Task[None]] = set()
        self._closing = False

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None) -> int:
        """Listen, and return the port. Raises OSError."""
        self._tls = tls
        self._server = await asyncio.start_server(self._connected, host, port, limit=READ_BYTES // 2)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self, grace: float) -> None:
        """Finish the requests that are being answered, within so many seconds, and end."""
        self._closing = True
        if self._server is not None:
            self._server.close()
        if self._busy:
            await asyncio.wait(set(self._busy), timeout=grace)
        for task in set(self._connections):
            task.cancel()

    # ------------------------------------------------------------ connections

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= MOST_CONNECTIONS:
            writer.transport.abort()
            return
        if len(self._strangers) >= MOST_STRANGERS:
            oldest = next(iter(self._strangers))
            self._strangers.pop(oldest).transport.abort()
        self._connections[task] = self._strangers[task] = writer
        try:
            stream = Stream(reader, writer) if self._tls is None else TlsStream(reader, writer, self._tls)
            await self._converse(task, stream)
        except TimeoutError:  # what it has not read is dropped
            writer.transport.abort()
        except (OSError, asyncio.CancelledError):  # the client has gone, or the server ends
            pass
        except Exception:  # a defect that one connection reveals must not end the server
            logger.exception("a connection failed")
        finally:
            for known in (self._connections, self._strangers):
                known.pop(task, None)
            self._busy.discard(task)
            if writer.transport.get_write_buffer_size():  # close() would wait for a client that may never read it
                writer.transport.abort()
            writer.close()

    async def _converse(self, task: asyncio.Task[None], stream: Stream) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        until = asyncio.get_running_loop().time() + STRANGERS_SECONDS  # with the handshake of TLS
        try:
            async with asyncio.timeout_at(until):
                await stream.begin()
            while not self._closing:
                async with asyncio.timeout_at(until):
                    request = await _next(connection, stream)
                if not isinstance(request, h11.Request):
                    return
                self._busy.add(task)
                headers = self._admitted(request)
                self._strangers.pop(task, None)
                body = await self._body(connection, stream, headers)
                told = await self._answer(request, body)
                async with asyncio.timeout(BODY_SECONDS):  # the client may never read it
                    await _send(connection, stream, *told, bare=request.method == b"HEAD")
                self._busy.discard(task)
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return
                connection.start_next_cycle()
                until = asyncio.get_running_loop().time() + IDLE_SECONDS
        except (_Unread, h11.RemoteProtocolError) as error:
            if isinstance(error, _Unread):
                status, text = error.status, str(error)
            else:
                status, text = error.error_status_hint, f"Malformed request: {error}"
            with contextlib.suppress(h11.LocalProtocolError):  # an answer has begun
                async with asyncio.timeout(BODY_SECONDS):
                    await _send(connection, stream, status, _error(text), close=True)
                await stream.linger()

    def _admitted(self, request: h11.Request) -> dict[str, str]:
        """Return the headers of a request; raises _Unread if it may not be made, or is none that is understood."""
        if request.http_version not in _VERSIONS:
            raise _Unread(505, "this server speaks HTTP/1.1")
        if len(request.target) + sum(len(name) + len(value) + 4 for name, value in request.headers) > HEAD_BYTES:
            raise _Unread(431, f"the head of the request has more than {HEAD_BYTES} bytes")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
        if "content-length" in headers and "transfer-encoding" in headers:  # proxies may believe the other one
            raise _Unread(400, "a request has either Content-Length or Transfer-Encoding")
        status, reason = self._access.admits(headers)
        if status:
            raise _Unread(status, reason)
        return headers

    async def _body(self, connection: h11.Connection, stream: Stream, headers: dict[str, str]) -> bytes:
        """Return the request's body; raises _Unread if it is too large, or does not arrive."""
        too_large = _Unread(413, f"the request has more than {self._largest} bytes")
        announced = headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > self._largest:
            raise too_large
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                if connection.they_are_waiting_for_100_continue:
                    await stream.write(connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
                while isinstance(event := await _next(connection, stream), h11.Data):
                    size += len(event.data)
                    if size > self._largest:
                        raise too_large
                    parts.append(bytes(event.data))
        except TimeoutError:
            raise _Unread(408, f"the request did not arrive within {BODY_SECONDS:g} seconds") from None
        return b"".join(parts)

    # ------------------------------------------------------------ requests

    async def _answer(self, request: h11.Request, body: bytes) -> tuple[int, bytes, str]:
        begun, path = time.monotonic(), request.target.decode("latin-1").partition("?")[0]
        method = request.method.decode("latin-1")
        if path in _METRICS and method == "GET":
            return 200, self._metrics.text().encode(), _TEXT
        outcome, kind = "OK", _JSON
        try:
            status, content = 200, await self._of_model(method, path, body)
        except Refused as error:
            status, content, outcome = error.problem.http, _error(str(error)), error.problem.grpc
        except _NotThere:
            status, content, outcome = 404, _error(f"Malformed request: {method} {path}"), "NOT_FOUND"
        except Exception as error:
            logger.exception("a request failed")
            status, content, outcome = 500, _error(f"the server failed: {type(error).__name__}"), "INTERNAL"
        self._metrics.request("http", self._answers.name, outcome, time.monotonic() - begun)
        return status, content, kind

    async def _of_model(self, method: str, path: str, body: bytes) -> bytes:
        found = _MODEL.fullmatch(path)
        if found is None:
            raise _NotThere
        name, number, label, metadata, verb = found.groups()
        version = self._answers.version(name, int(number) if number else None, label or "")
        if method == "GET" and not verb:
            return _metadata(name, version) if metadata else _status(version)
        if method == "POST" and verb == "predict" and not metadata:
            return await self._predict(version, body)
        if method == "POST" and verb in OTHER_VERBS and not metadata:
            raise self._answers.other_verb(verb)
        raise _NotThere

    async def _predict(self, version: Version, body: bytes) -> bytes:
        request = Request(body)
        self._answers.check_signature(request.signature)
        outputs = await self._answers.predict(version, request.arrays(version.model.inputs))
        return answer(outputs, request.in_rows)


class _NotThere(Exception):
    """The path or method means nothing here."""


class _Unread(Exception):
    """A request that is refused before all of it was read, with this HTTP status; its connection ends."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def _next(connection: h11.Connection, stream: Stream) -> Any:
    """Return the next event, reading as much as it needs."""
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await stream.read())
    return event


async def _send(
    connection: h11.Connection, stream: Stream, status: int, body: bytes, kind: str = _JSON, *, close: bool = False,
    bare: bool = False,
) -> None:  # fmt: skip
    """Send an answer; if it is to be `bare`, without its body."""
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("X-Content-Type-Options", "nosniff")]
    headers += [("Connection", "close")] if close else []
    head = connection.send(h11.Response(status_code=status, headers=headers)) or b""
    content = b"" if bare else connection.send(h11.Data(data=body)) or b""
    await stream.write(head + content + (connection.send(h11.EndOfMessage()) or b""))


def _error(text: str) -> bytes:
    return json.dumps({"error": text}).encode()


def _status(version: Version) -> bytes:
    state = ModelVersionStatus.State.Name(ModelVersionStatus.AVAILABLE)
    one = {"version": str(version.number), "state": state, "status": {"error_code": "OK", "error_message": ""}}
    return json.dumps({"model_version_status": [one]}).encode()


def _metadata(name: str, version: Version) -> bytes:
    definition = {
        "inputs": {one: _info(one, form) for one, form in version.model.inputs.items()},
        "outputs": {one: _info(one, form) for one, form in version.model.outputs.items()},
        "method_name": "tensorflow/serving/predict",
    }
    return json.dumps({
        "model_spec": {"name": name, "signature_name": "", "version": str(version.number)},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: definition}}},
    }).encode()  # fmt: skip


_TYPES = {"float32": "DT_FLOAT", "float64": "DT_DOUBLE", "float16": "DT_HALF"}


def _info(name: str, form: Form) -> dict[str, Any]:
    sizes = [{"size": str(-1 if size is None else size), "name": ""} for size in (None, *form.shape)]
    dtype = _TYPES.get(form.dtype, f"DT_{form.dtype.upper()}")
    return {"dtype": dtype, "tensor_shape": {"dim": sizes, "unknown_rank": False}, "name": f"{name}:0"}
