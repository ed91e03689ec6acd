"""Calls to a gRPC server that cost a simulated caller little: the same bytes on the wire, without gRPC's client.

A benchmark that simulates many callers on the cores that its server needs, too, would otherwise measure them. A
connection does what HTTP/2 demands of a client whose requests are small: it keeps to the server's flow control, and
answers settings and pings. It raises ConnectionError for whatever it does not know.
"""

from __future__ import annotations

import asyncio
import os
import struct
import traceback
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM = ACK = 0x1
END_HEADERS, PADDED = 0x4, 0x8
INITIAL_WINDOW_SIZE = 4
WHOLE, DEFAULT_WINDOW = 2**31 - 1, 65_535
"""Everything that one run receives fits into the largest window, so that none needs to be opened again."""

_HEAD = struct.Struct(">BHBBI")  # length in two parts, type, flags, stream
_MESSAGE = struct.Struct(">BI")  # whether it is compressed, length


@dataclass
class Call:
    """One call: its handlers, and what has come of a message that is incomplete."""

    received: Callable[[bytes], None]
    ended: Callable[[], None]
    rest: bytes = b""


class Connection(asyncio.Protocol):
    """A connection to a server that calls one method, any number of times at once."""

    def __init__(self, authority: str, method: str, metadata: Sequence[tuple[str, str]] = ()) -> None:
        fields = [
            (":method", "POST"), (":scheme", "http"), (":path", method), (":authority", authority),
            ("content-type", "application/grpc"), ("te", "trailers"), *metadata,
        ]  # fmt: skip
        # A zero byte before a name: a field in plain words that the server need not remember.
        self._fields = b"".join(b"\0" + _literal(name) + _literal(value) for name, value in fields)
        self._transport: asyncio.WriteTransport
        self._calls: dict[int, Call] = {}
        self._next = 1
        self._received, self._sending = b"", list[bytes]()
        self._initial = self._window = DEFAULT_WINDOW
        self._used: defaultdict[int, int] = defaultdict(int)  # bytes sent on a stream, less what updates allowed

    # ------------------------------------------------------------ what callers use

    def call(self, received: Callable[[bytes], None], ended: Callable[[], None]) -> int:
        """Begin a call; return its number. `received` gets each message, `ended` is called after the last one."""
        number, self._next = self._next, self._next + 2
        self._calls[number] = Call(received, ended)
        self._frame(HEADERS, END_HEADERS, number, self._fields)
        return number

    def send(self, number: int, message: bytes, *, last: bool = False) -> None:
        """Send a message of a call; it leaves together with all others of this turn of the loop."""
        size = len(message) + _MESSAGE.size
        self._window -= size
        self._used[number] += size
        if self._window < 0 or self._used[number] > self._initial:
            raise ConnectionError("the server's window is full: these callers are only for small messages")
        self._frame(DATA, END_STREAM * last, number, _MESSAGE.pack(0, len(message)) + message)

    def end(self, number: int) -> None:
        """Send no more messages of a call."""
        self._frame(DATA, END_STREAM, number, b"")

    def close(self) -> None:
        """Close the connection."""
        self._flush()
        self._transport.close()

    # ------------------------------------------------------------ what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._transport.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self._frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, WHOLE))
        self._frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WHOLE - DEFAULT_WINDOW))

    def data_received(self, data: bytes) -> None:
        data = self._received + data if self._received else data
        at, end = 0, len(data)
        while end - at >= _HEAD.size:
            high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
            after = at + _HEAD.size + (high << 16 | low)
            if after > end:
                break
            self._take(kind, flags, stream, data[at + _HEAD.size : after])
            at = after
        self._received = data[at:]

    def connection_lost(self, error: Exception | None) -> None:
        if self._calls:
            raise ConnectionError("the server has closed the connection") from error

    # ------------------------------------------------------------ frames

    def _take(self, kind: int, flags: int, stream: int, content: bytes) -> None:
        if kind == DATA and not flags & PADDED:
            self._messages(self._calls[stream], content)
        elif kind == WINDOW_UPDATE:
            (more,) = struct.unpack(">I", content)
            if stream:
                self._used[stream] -= more
            else:
                self._window += more
        elif kind == SETTINGS:
            if not flags & ACK:
                self._initial = dict(struct.iter_unpack(">HI", content)).get(INITIAL_WINDOW_SIZE, self._initial)
                self._frame(SETTINGS, ACK, 0, b"")
        elif kind == PING:
            if not flags & ACK:
                self._frame(PING, ACK, 0, content)
        elif kind not in (HEADERS, CONTINUATION, GOAWAY, RST_STREAM):
            raise ConnectionError(f"a frame of type {kind} with flags {flags}")
        if (kind in (DATA, HEADERS) and flags & END_STREAM) or kind == RST_STREAM:
            self._used.pop(stream, None)
            if (call := self._calls.pop(stream, None)) is not None:
                call.ended()

    def _messages(self, call: Call, content: bytes) -> None:
        data = call.rest + content if call.rest else content
        at = 0
        while len(data) - at >= _MESSAGE.size:
            _, length = _MESSAGE.unpack_from(data, at)
            after = at + _MESSAGE.size + length
            if after > len(data):
                break
            call.received(data[at + _MESSAGE.size : after])
            at = after
        call.rest = data[at:]

    def _frame(self, kind: int, flags: int, stream: int, content: bytes) -> None:
        if not self._sending:
            asyncio.get_running_loop().call_soon(self._flush)
        self._sending.append(_HEAD.pack(0, len(content), kind, flags, stream) + content)

    def _flush(self) -> None:
        self._transport.write(b"".join(self._sending))
        self._sending.clear()


async def connect(
    address: str, method: str, metadata: Sequence[tuple[str, str]] = (), *, connections: int
) -> list[Connection]:
    """Return connections to the server at "HOST:PORT" for calls of "/package.Service/Method".

    From now on, an exception in any callback of the loop ends the process.
    """
    host, port = address.rsplit(":", 1)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_give_up)
    made = [
        await loop.create_connection(lambda: Connection(address, method, metadata), host, int(port))
        for _ in range(connections)
    ]
    return [connection for _, connection in made]


def _give_up(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    print(context["message"], flush=True)
    traceback.print_exception(context.get("exception"))
    os._exit(1)


def _literal(text: str) -> bytes:
    data = text.encode()
    if len(data) > 126:  # the length would take more than a byte
        raise ValueError(f"too long for a field of a header: {text}")
    return bytes([len(data)]) + data
