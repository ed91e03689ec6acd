"""Letting in, among all who connect to a ring's port, the one neighbour who knows the token.

Many may knock at once, and each has its own few seconds and its own 60 bytes: whoever says nothing, or too much, keeps
nobody else waiting. One thread, no blocking calls.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import ssl
import time
from collections.abc import Callable

from elasticdl_nb.runtime.allreduce.tls import Tls

HANDSHAKE_LIMIT = 5.0
"""Seconds that a caller has to show that it knows the token."""

MOST_GUESTS = 128
"""Callers at once who have not shown it yet; one more, and the first of them has to go."""

Answer = Callable[[bytes, bytes], bytes | None]
"""From a caller's challenge and its whole answer to what it is told when it is let in; None if it is not."""

logger = logging.getLogger(__name__)


class _Guest:
    """A caller who has yet to answer its challenge."""

    def __init__(self, peer: socket.socket, tls: Tls | None, challenge: bytes, size: int) -> None:
        peer.setblocking(False)
        self.socket: socket.socket = peer if tls is None else tls.begun(peer, is_called=True)
        self.until = time.monotonic() + HANDSHAKE_LIMIT
        self.challenge, self._size = challenge, size
        self._greeted, self.answer = False, b""

    def listen(self) -> bool:
        """Go on as far as possible without waiting; return whether the answer is complete. Raises OSError."""
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not self._greeted:
                if isinstance(self.socket, ssl.SSLSocket):
                    self.socket.do_handshake()
                self.socket.send(self.challenge)
                self._greeted = True
            while len(self.answer) < self._size:
                part = self.socket.recv(self._size - len(self.answer))
                if not part:
                    raise ConnectionError("it hung up")
                self.answer += part
        return len(self.answer) == self._size


class Door:
    """Asks everyone who connects to a listening socket for the answer to a challenge of its own."""

    def __init__(
        self, listener: socket.socket, tls: Tls | None, challenge: Callable[[], bytes], size: int, answer: Answer
    ) -> None:
        self._listener, self._tls = listener, tls
        self._challenge, self._size, self._answer = challenge, size, answer
        self._guests: dict[int, _Guest] = {}
        self._selector = selectors.DefaultSelector()

    def admit(self, is_late: Callable[[], bool], poll: float) -> socket.socket | None:
        """Return the first who answers rightly, or None once it is late; everyone else is turned away.

        Raises OSError if the listening socket is closed meanwhile.
        """
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        try:
            while not is_late():
                for key, _ in self._selector.select(poll):
                    guest = self._accept() if key.fileobj is self._listener else self._guests.get(key.fd)
                    if guest is not None and (admitted := self._hear(guest)) is not None:
                        return admitted
                if self._listener.fileno() < 0:
                    raise OSError("the port was closed")
                for guest in [one for one in self._guests.values() if one.until < time.monotonic()]:
                    self._turn_away(guest, "it did not answer in time")
            return None
        finally:
            for guest in list(self._guests.values()):
                self._turn_away(guest, "another one was let in")
            self._selector.close()

    def _accept(self) -> _Guest | None:
        try:
            peer, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return None
        if len(self._guests) >= MOST_GUESTS:
            self._turn_away(next(iter(self._guests.values())), "too many call at once")
        try:
            guest = _Guest(peer, self._tls, self._challenge(), self._size)
        except OSError:  # it has gone already
            peer.close()
            return None
        self._guests[guest.socket.fileno()] = guest
        self._selector.register(guest.socket, selectors.EVENT_READ)
        return guest

    def _hear(self, guest: _Guest) -> socket.socket | None:
        try:
            if not guest.listen():
                return None
            reply = self._answer(guest.challenge, guest.answer)
            if reply is None:
                self._turn_away(guest, "it is not of this ring")
                return None
            guest.socket.send(reply)
        except OSError as error:
            self._turn_away(guest, str(error))
            return None
        self._forget(guest)
        return guest.socket

    def _forget(self, guest: _Guest) -> None:
        self._selector.unregister(guest.socket)
        del self._guests[guest.socket.fileno()]

    def _turn_away(self, guest: _Guest, reason: str) -> None:
        logger.info("turned a caller away: %s", reason)
        self._forget(guest)
        guest.socket.close()
