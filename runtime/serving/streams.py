"""A connection's bytes, plain or by TLS, of which never more than a little is held unread.

The streams of asyncio read 256 KiB at a time, and more with TLS, from callers who may be strangers.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import TypeVar

from elasticdl_nb.runtime.serving.limits import LINGERING_BYTES, LINGERING_SECONDS, READ_BYTES

Result = TypeVar("Result")


class Stream:
    """A connection without encryption. Its methods raise OSError when it is lost."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        # What a socket's transport reads at a time; it has no method for that.
        setattr(writer.transport, "max_size", READ_BYTES)  # noqa: B010
        writer.transport.set_write_buffer_limits(high=0)  # `drain` waits until the client has taken everything

    async def begin(self) -> None:
        """Agree on keys, where there are any."""

    async def read(self) -> bytes:
        """Return some bytes, or none at the end."""
        return await self._reader.read(READ_BYTES)

    async def write(self, data: bytes) -> None:
        """Send bytes."""
        self._writer.write(data)
        await self._writer.drain()

    async def end(self) -> None:
        """Say that nothing else will be sent."""
        if self._writer.can_write_eof():
            self._writer.write_eof()

    async def linger(self) -> None:
        """Read what a client whose request is refused still sends: otherwise it may never see the answer."""
        left = LINGERING_BYTES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGERING_SECONDS):
                await self.end()
                while left > 0 and (content := await self._reader.read(READ_BYTES)):
                    left -= len(content)


class TlsStream(Stream):
    """A connection with TLS; `context` is the server's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext) -> None:
        super().__init__(reader, writer)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)

    async def begin(self) -> None:
        """Agree on keys; raises ssl.SSLError for a client with whom that is not possible."""
        await self._do(self._tls.do_handshake)

    async def read(self) -> bytes:
        """Return some bytes, or none at the end."""
        try:
            return await self._do(lambda: self._tls.read(READ_BYTES))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    async def write(self, data: bytes) -> None:
        """Send bytes."""
        await self._do(lambda: self._tls.write(data))

    async def end(self) -> None:
        """Say that nothing else will be sent."""
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()  # it also waits for the client's word, which we do not
        await self._flush()
        await super().end()

    async def _do(self, step: Callable[[], Result]) -> Result:
        """Take a step of the protocol, for which it may need to read first."""
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self._flush()
                if content := await self._reader.read(READ_BYTES):
                    self._in.write(content)
                else:
                    self._in.write_eof()
            except ssl.SSLError:
                await self._flush()  # the alert, which tells the client why
                raise
            else:
                await self._flush()
                return result

    async def _flush(self) -> None:
        if content := self._out.read():
            self._writer.write(content)
            await self._writer.drain()
