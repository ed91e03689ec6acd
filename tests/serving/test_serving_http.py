"""The HTTP port as such: which requests end a connection, and what becomes of answers that nobody reads."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from elasticdl_nb.runtime.serving import http
from elasticdl_nb.runtime.serving.form import Form
from elasticdl_nb.runtime.serving.metrics import Metrics

BODY = b'{"inputs": [1]}'
HEAD = b"POST /v1/models/model:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % len(BODY)


class Zeros:
    """Answers every request with 3000 numbers."""

    name = "model"

    def version(self, name: str, number: int | None = None, label: str = "") -> Any:
        return SimpleNamespace(number=1, model=SimpleNamespace(inputs={"inputs": Form("float64", ())}))

    def check_signature(self, name: str) -> None:
        pass

    async def predict(self, version: Any, inputs: Any) -> Any:
        return {"prediction": np.zeros(3000)}


async def two_lengths(port: int) -> bytes:
    """Send a request with a length and chunks, and another one; return everything that comes until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + HEAD + b"\r\n" + BODY)
    with contextlib.closing(writer):
        return await reader.read()


async def unread(port: int, server: http.HttpServer) -> asyncio.StreamWriter:
    """Ask again and again without reading; return the server's side of the connection, once answers wait in it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
    while True:
        with contextlib.suppress(BlockingIOError):
            client.send(HEAD + b"\r\n" + BODY)
        await asyncio.sleep(0.002)
        for writer in server._connections.values():
            if writer.transport.get_write_buffer_size():
                writer.client = client  # type: ignore[attr-defined]  # so that it stays open
                return writer


def test_lengths_that_disagree_and_answers_that_nobody_reads_end_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_SECONDS", 3.0)

    async def check() -> None:
        server = http.HttpServer(Zeros(), Metrics(), http.Access("", True), 1 << 20)  # type: ignore[arg-type]
        port = await server.start("127.0.0.1", 0, None)
        answers = await two_lengths(port)
        assert answers.startswith(b"HTTP/1.1 400")
        assert answers.count(b"HTTP/1.1") == 1
        writer = await unread(port, server)
        where = writer.transport.get_extra_info("socket")
        while server._connections or where.fileno() >= 0:
            await asyncio.sleep(0.05)
        writer.client.close()  # type: ignore[attr-defined]
        await server.close(0)

    asyncio.run(asyncio.wait_for(check(), 60))
