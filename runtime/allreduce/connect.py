"""How a ring is formed: each rank dials its right neighbour and is dialled by its left one.

Both ends prove that they know the job's token, without sending it: each answers the other's random number with its
HMAC-SHA256 under a key made from the token. Peers that cannot, or that belong to another generation, are refused.
Between machines this, too, is encrypted. An address is "HOST:PORT", or "tls://HOST:PORT".
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence

from elasticdl_nb.runtime.allreduce.collective import Alone, Collective, RingBroken
from elasticdl_nb.runtime.allreduce.door import Door
from elasticdl_nb.runtime.allreduce.ring import WAIT_LIMIT, Ring
from elasticdl_nb.runtime.allreduce.tls import Tls
from elasticdl_nb.runtime.protocol.network import Network, is_loopback

CONNECT_LIMIT = 20.0
"""Seconds that neighbours, which get their orders at the same time, may take to connect."""

_POLL = 0.1
_NONCE, _PROOF = 16, 32
_CALLER = struct.Struct("<qi")
_BACKLOG = 64
_TLS = "tls://"

GivenUp = Callable[[], bool]


class Listener:
    """Where a worker's left neighbour can reach it, from its start to its end."""

    def __init__(self, token: str, network: Network | None = None) -> None:
        network = network or Network()
        self._key = hashlib.blake2b(token.encode(), digest_size=32, person=b"elasticdl ring").digest()
        self._tls = Tls(token) if network.encrypted else None
        family = socket.AF_INET6 if ":" in network.bind else socket.AF_INET
        self._socket = socket.create_server((network.bind, 0), family=family, backlog=_BACKLOG)
        self.address = (_TLS if self._tls else "") + network.reached_at(self._socket.getsockname()[1])

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def connect(
        self, generation: int, rank: int, addresses: Sequence[str], *, compression: str = "none",
        given_up: GivenUp = lambda: False, limit: float = CONNECT_LIMIT, wait_limit: float = WAIT_LIMIT,
    ) -> Collective:  # fmt: skip
        """Return the collective of a generation, whose ranks are at these addresses.

        Raises RingBroken if a neighbour does not connect within `limit` seconds, or once `given_up()`.
        """
        world = len(addresses)
        if world == 1:
            return Alone()
        clock = _Clock(time.monotonic() + limit, given_up)
        accepted = _InThread(lambda: self._accept(generation, (rank - 1) % world, clock))
        try:
            right = self._dial(addresses[(rank + 1) % world], generation, rank, clock)
        except RingBroken:
            clock.stop()
            if (late := accepted.value_or_none()) is not None:
                late.close()
            raise
        try:
            left = accepted.value()
        except RingBroken:
            right.close()
            raise
        near = all(is_loopback(_place(address)[0]) for address in addresses)
        return Ring(rank, world, left, right, compression=compression, limit=wait_limit, near=near)

    # ------------------------------------------------------------ both ends

    def _proof(self, purpose: bytes, *parts: bytes) -> bytes:
        return hmac.new(self._key, purpose + b"".join(parts), hashlib.sha256).digest()

    def _dial(self, address: str, generation: int, rank: int, clock: _Clock) -> socket.socket:
        host, port = _place(address)
        try:
            peer = socket.create_connection((host, int(port)), timeout=max(clock.left(), 0.001))
        except OSError as error:
            raise RingBroken(f"{address} is unreachable: {error}") from None
        try:
            peer = self._encrypted(peer, clock)
            challenge = _read(peer, _NONCE, clock)
            caller, nonce = _CALLER.pack(generation, rank), secrets.token_bytes(_NONCE)
            peer.sendall(caller + nonce + self._proof(b"caller", challenge, caller, nonce))
            if not hmac.compare_digest(_read(peer, _PROOF, clock), self._proof(b"called", challenge, nonce)):
                raise RingBroken(f"{address} does not belong to this job")
            return peer
        except (OSError, RingBroken) as error:
            peer.close()
            raise RingBroken(f"{address} did not answer: {error}") from None

    def _accept(self, generation: int, rank: int, clock: _Clock) -> socket.socket:
        def answer(challenge: bytes, said: bytes) -> bytes | None:
            caller, nonce, proof = said[: _CALLER.size], said[_CALLER.size : -_PROOF], said[-_PROOF:]
            if not hmac.compare_digest(proof, self._proof(b"caller", challenge, caller, nonce)):
                return None
            return self._proof(b"called", challenge, nonce) if _CALLER.unpack(caller) == (generation, rank) else None

        size = _CALLER.size + _NONCE + _PROOF
        door = Door(self._socket, self._tls, lambda: secrets.token_bytes(_NONCE), size, answer)
        try:
            peer = door.admit(lambda: clock.left() <= 0, _POLL)
        except (OSError, ValueError) as error:  # the port was closed
            raise RingBroken(str(error)) from None
        if peer is None:
            raise RingBroken("the left neighbour did not connect")
        peer.settimeout(_POLL)
        return peer

    def _encrypted(self, peer: socket.socket, clock: _Clock) -> socket.socket:
        peer.settimeout(_POLL)
        return peer if self._tls is None else self._tls.wrap(peer, lambda: clock.left() <= 0)


class _Clock:
    """A deadline that may come earlier."""

    def __init__(self, deadline: float, given_up: GivenUp) -> None:
        self._deadline, self._given_up = deadline, given_up
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    def left(self) -> float:
        """Seconds left; 0 once it is given up."""
        return 0.0 if self._stopped or self._given_up() else max(0.0, self._deadline - time.monotonic())


class _InThread:
    """A call that runs in a thread of its own."""

    def __init__(self, call: Callable[[], socket.socket]) -> None:
        self._result: socket.socket | None = None
        self._error = RingBroken("")
        self._thread = threading.Thread(target=self._run, args=(call,), name="ring-accept", daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], socket.socket]) -> None:
        try:
            self._result = call()
        except RingBroken as error:
            self._error = error

    def value(self) -> socket.socket:
        """Wait for the result, or raise RingBroken."""
        self._thread.join()
        if self._result is None:
            raise self._error
        return self._result

    def value_or_none(self) -> socket.socket | None:
        with contextlib.suppress(RingBroken):
            return self.value()
        return None


def _place(address: str) -> tuple[str, str]:
    host, _, port = address.removeprefix(_TLS).rpartition(":")
    return host.strip("[]"), port


def _read(peer: socket.socket, count: int, clock: _Clock) -> bytes:
    peer.settimeout(_POLL)
    data = b""
    while len(data) < count:
        if clock.left() <= 0:
            raise RingBroken("time is up")
        try:
            part = peer.recv(count - len(data))
        except TimeoutError:
            continue
        if not part:
            raise RingBroken("it hung up")
        data += part
    return data
