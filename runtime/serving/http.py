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
    LINGERING_BYTES,
    LINGERING_SECONDS,
    MOST_CONNECTIONS,
    MOST_STRANGERS,
    STRANGERS_SECONDS,
)  # fmt: skip
from elasticdl_nb.runtime.serving.metrics import Metrics
from elasticdl_nb.runtime.serving.problems import Refused
from elasticdl_nb.runtime.serving.versions import Version

logger = logging.getLogger(__name__)

_MODEL = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d{1,18})|/labels/([^/:]+))?(/metadata)?(?::([a-z]+))?")
_METRICS = ("/metrics", "/monitoring/prometheus/metrics")
_LOCAL = ("127.0.0.1", "localhost", "[::1]")
_JSON, _TEXT = "application/json", "text/plain; version=0.0.4; charset=utf-8"
_CHUNK = 256 << 10


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
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._strangers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}  # the oldest first
        self._busy: set[asyncio.Task[None]] = set()
        self._closing = False

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None) -> int:
        """Listen, and return the port. Raises OSError."""
        self._server = await asyncio.start_server(self._connected, host, port, limit=HEAD_BYTES, ssl=tls)
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
            with contextlib.suppress(OSError, TimeoutError, ssl.SSLError, asyncio.CancelledError):
                await self._converse(task, reader, writer)
        except Exception:  # a defect that one connection reveals must not end the server
            logger.exception("a connection failed")
        finally:
            for known in (self._connections, self._strangers):
                known.pop(task, None)
            self._busy.discard(task)
            writer.close()

    async def _converse(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        wait = STRANGERS_SECONDS
        try:
            while not self._closing:
                async with asyncio.timeout(wait):
                    request = await _next(connection, reader)
                if not isinstance(request, h11.Request):
                    return
                self._busy.add(task)
                headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
                status, reason = self._access.admits(headers)
                if status:
                    await self._send(connection, writer, status, _error(reason), close=True)
                    await _linger(reader, writer)
                    return
                self._strangers.pop(task, None)
                body = await self._body(connection, reader, writer, headers)
                if body is None:
                    text = f"the request has more than {self._largest} bytes"
                    await self._send(connection, writer, 413, _error(text), close=True)
                    await _linger(reader, writer)
                    return
                await self._send(connection, writer, *await self._answer(request, body))
                self._busy.discard(task)
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return
                connection.start_next_cycle()
                wait = IDLE_SECONDS
        except h11.RemoteProtocolError as error:
            with contextlib.suppress(h11.LocalProtocolError):
                await self._send(
                    connection, writer, error.error_status_hint, _error(f"Malformed request: {error}"), close=True
                )

    async def _body(
        self,
        connection: h11.Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        headers: dict[str, str],
    ) -> bytes | None:
        """Return the request's body, or None if it is too large."""
        announced = headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > self._largest:
            return None
        if connection.they_are_waiting_for_100_continue:
            writer.write(connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        parts: list[bytes] = []
        size = 0
        async with asyncio.timeout(BODY_SECONDS):
            while isinstance(event := await _next(connection, reader), h11.Data):
                size += len(event.data)
                if size > self._largest:
                    return None
                parts.append(bytes(event.data))
        return b"".join(parts)

    @staticmethod
    async def _send(
        connection: h11.Connection, writer: asyncio.StreamWriter, status: int, body: bytes, kind: str = _JSON,
        *, close: bool = False,
    ) -> None:  # fmt: skip
        headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("X-Content-Type-Options", "nosniff")]
        headers += [("Connection", "close")] if close else []
        head = connection.send(h11.Response(status_code=status, headers=headers)) or b""
        content = connection.send(h11.Data(data=body)) or b""
        writer.write(head + content + (connection.send(h11.EndOfMessage()) or b""))
        await writer.drain()

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


async def _next(connection: h11.Connection, reader: asyncio.StreamReader) -> Any:
    """Return the next event, reading as much as it needs."""
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(_CHUNK))
    return event


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read what a client whose request is refused still sends: otherwise it may never see the answer."""
    if writer.can_write_eof():
        writer.write_eof()
    left = LINGERING_BYTES
    async with asyncio.timeout(LINGERING_SECONDS):
        while left > 0 and (content := await reader.read(_CHUNK)):
            left -= len(content)


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
