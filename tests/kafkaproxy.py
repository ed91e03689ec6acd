"""A TCP proxy before mock brokers, which cuts connections in the middle of an answer, or falls silent.

Brokers say in their answers where clients are to connect. librdkafka's mock brokers can be told what to say
(`rd_kafka_mock_broker_set_host_port`), so all connections go through the proxy, and it changes no byte of them. The
first request of a connection has the client's name; connections of `SPARED` are left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any

SPARED = "spared"
"""The `client.id` of who sends records: a request that is repeated would add them twice."""

_LINGER = struct.pack("ii", 1, 0)
"""To close a socket as a machine does that is gone: with a reset."""


class Proxy:
    """Listens on a port of its own for each address; a thread does the rest."""

    def __init__(self, addresses: list[tuple[str, int]]) -> None:
        self._loop = asyncio.new_event_loop()
        self._open: set[_Connection] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.ports: list[int] = [self._do(self._listen(*address)) for address in addresses]

    def _do(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(30)

    async def _listen(self, host: str, port: int) -> int:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = _Connection()
            self._open.add(connection)
            with contextlib.suppress(asyncio.CancelledError):  # which asyncio would report when the proxy is closed
                await connection.run(reader, writer, host, port)
            self._open.discard(connection)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    def cut(self) -> int:
        """Reset each connection after half of what the broker sends next; return how many there are."""

        async def mark() -> int:
            chosen = [one for one in self._open if not one.spared]
            for one in chosen:
                one.is_cut = True
            return len(chosen)

        return int(self._do(mark()))

    def silence(self, seconds: float) -> int:
        """Pass nothing on for so long, without closing anything; return how many connections there are."""

        async def hush() -> int:
            chosen = [one for one in self._open if not one.spared]
            for one in chosen:
                one.speaks.clear()
                self._loop.call_later(seconds, one.speaks.set)
            return len(chosen)

        return int(self._do(hush()))

    def close(self) -> None:
        """End all of it."""

        async def end() -> None:
            for task in asyncio.all_tasks():
                if task is not asyncio.current_task():
                    task.cancel()

        self._do(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Connection:
    """One connection of a client."""

    def __init__(self) -> None:
        self.spared = self.is_cut = False
        self.speaks = asyncio.Event()
        self.speaks.set()

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
        """Connect to the broker, and pass on what both say until one of them, or a cut, ends it."""
        writers = [writer]
        with contextlib.suppress(OSError):
            answers, requests = await asyncio.open_connection(host, port)
            writers.append(requests)
            both = [
                asyncio.ensure_future(self._pass(reader, requests, asks=True)),
                asyncio.ensure_future(self._pass(answers, writer, asks=False)),
            ]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        for one in writers:
            raw = one.get_extra_info("socket")
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            one.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, asks: bool) -> None:
        first = asks
        while data := await reader.read(1 << 16):
            if first:
                self.spared, first = SPARED.encode() in data[:100], False
            await self.speaks.wait()
            if self.is_cut and not asks:
                writer.write(data[: len(data) // 2])
                await writer.drain()
                return
            writer.write(data)
            await writer.drain()
