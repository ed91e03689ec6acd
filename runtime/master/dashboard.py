"""The dashboard's HTTP endpoint: a page that shows the job, and the stream of events that keeps it up to date.

Listens only on this machine's loopback address. Access requires the secret in the URL; requests for another host name
are rejected, so that no web page can reach the dashboard through a name of its own. How the page looks is up to a layer
above this one: the renderer is named by a string, `package.module:Class`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import secrets
import time
from collections.abc import Callable
from typing import Protocol

from elasticdl_nb.runtime.control.status import is_over
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.auth import url_secret

INTERVAL = 0.5
"""Seconds between two checks of the job for a stream."""

HEARTBEAT = 15.0
"""Seconds after which a stream without news sends a comment, to find out whether anyone still listens."""

MOST_CONNECTIONS = 64
"""Pages that are open at once."""

MOST_STRANGERS = 128
"""Connections at once that have not shown the secret yet; one more, and the first of them has to go."""

_REQUEST_SECONDS = 5.0
_REQUEST_BYTES = 16_384
_GOODBYE_SECONDS = 1.0
logger = logging.getLogger(__name__)


class Stream(Protocol):
    """What one viewer of the page has seen."""

    def news(self, status: pb.JobStatus, now: float) -> bytes:
        """Return the events that bring the viewer up to date at the time `now`; empty if there are none."""
        ...


class Renderer(Protocol):
    """Draws the page."""

    def page(self, status: pb.JobStatus) -> tuple[bytes, str]:
        """Return the page, which reads its stream of events from `events`, and the policy to serve it with."""
        ...

    def stream(self) -> Stream:
        """Return the stream of a new viewer."""
        ...


def load_renderer(name: str) -> Renderer:
    """Return the renderer that `package.module:Class` names."""
    module, _, attribute = name.partition(":")
    renderer: Renderer = getattr(importlib.import_module(module), attribute)()
    return renderer


class Dashboard:
    """Serves the page until it is closed; `status` returns the job's current status.

    With a token, the page's address stays the same whichever master of the job serves it on the `port`.
    """

    def __init__(self, renderer: str, status: Callable[[], pb.JobStatus], token: str = "", port: int = 0) -> None:
        self._renderer_name = renderer
        self._renderer: Renderer | None = None
        self._status = status
        self._secret = url_secret(token or secrets.token_hex(16))
        self._port = port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._strangers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}  # of these, the oldest first
        self._watching = 0
        self._closing = asyncio.Event()

    async def start(self) -> str:
        """Listen, and return the page's URL."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port, limit=_REQUEST_BYTES)
        port = self._server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/{self._secret}/"

    async def close(self) -> None:
        """Send every viewer the last state, and end."""
        self._closing.set()
        if self._server is not None:
            self._server.close()
        if self._connections:
            await asyncio.wait(self._connections, timeout=_GOODBYE_SECONDS)
        for connection in self._connections:
            connection.cancel()

    # ------------------------------------------------------------ requests

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._strangers) >= MOST_STRANGERS:
            oldest = next(iter(self._strangers))
            self._strangers.pop(oldest).transport.abort()
        self._connections.add(task)
        self._strangers[task] = writer
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                async with asyncio.timeout(_REQUEST_SECONDS):
                    head = await reader.readuntil(b"\r\n\r\n")
                self._strangers.pop(task, None)
                await self._answer(head.decode("latin-1"), writer)
        except Exception:  # a defect of the page must not disturb the job
            logger.exception("the dashboard failed")
        finally:
            self._connections.discard(task)
            self._strangers.pop(task, None)
            writer.close()

    async def _answer(self, head: str, writer: asyncio.StreamWriter) -> None:
        lines = head.split("\r\n")
        method, _, rest = lines[0].partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        secret, _, page = path.lstrip("/").partition("/")
        # Any port will do: the page may be reached through another port that is forwarded to this machine.
        if headers.get("host", "").partition(":")[0] not in ("127.0.0.1", "localhost"):
            await _send(writer, "421 Misdirected Request", b"This is not the host you are looking for.")
        elif not secrets.compare_digest(secret.encode("latin-1"), self._secret.encode()) or page not in ("", "events"):
            await _send(writer, "404 Not Found", b"There is nothing here. Use the full address, including the secret.")
        elif method != "GET":
            await _send(writer, "405 Method Not Allowed", b"", {"Allow": "GET"})
        elif self._watching >= MOST_CONNECTIONS:
            await _send(writer, "503 Service Unavailable", b"Too many pages are open.")
        elif page == "events":
            self._watching += 1
            try:
                await self._stream(writer)
            finally:
                self._watching -= 1
        else:
            body, policy = self._drawn_by().page(self._status())
            await _send(writer, "200 OK", body, {"Content-Security-Policy": policy}, "text/html; charset=utf-8")

    def _drawn_by(self) -> Renderer:
        if self._renderer is None:
            self._renderer = load_renderer(self._renderer_name)
        return self._renderer

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        stream = self._drawn_by().stream()
        writer.write(_head("200 OK", {"Content-Type": "text/event-stream"}))
        sent_at = time.monotonic()
        while not writer.is_closing():
            closing = self._closing.is_set()
            status, now = self._status(), time.monotonic()
            news = stream.news(status, now)
            if not news and now - sent_at > HEARTBEAT:
                news = b":\n\n"
            if news:
                writer.write(news)
                await writer.drain()
                sent_at = now
            if closing or is_over(status):
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), INTERVAL)


async def _send(
    writer: asyncio.StreamWriter, state: str, body: bytes, headers: dict[str, str] | None = None,
    kind: str = "text/plain; charset=utf-8",
) -> None:  # fmt: skip
    writer.write(_head(state, {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}) + body)
    await writer.drain()


def _head(state: str, headers: dict[str, str]) -> bytes:
    everywhere = {
        "Cache-Control": "no-store", "Connection": "close", "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin",
    }  # fmt: skip
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**everywhere, **headers}.items())
    return f"HTTP/1.1 {state}\r\n{lines}\r\n".encode("latin-1")
