"""Who may connect to a parameter server, and what others can read of the traffic.

On one machine a peer shows a secret made from the job's token; an address is "tcp://HOST:PORT". Between machines
everything is encrypted and both ends are identified by CURVE keys made from the token; an address is
"curve://HOST:PORT". A server rejects all others before it accepts a message.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import threading

import zmq
from zmq.utils import z85

from elasticdl_nb.runtime.protocol.network import Network

logger = logging.getLogger(__name__)

_USER = b"worker"
_TCP, _CURVE = "tcp://", "curve://"


def _derived(token: str, purpose: bytes) -> bytes:
    return hashlib.blake2b(token.encode(), digest_size=32, person=purpose).digest()


def _password(token: str) -> bytes:
    return _derived(token, b"elasticdl plain").hex().encode()


def _curve_keys(token: str, purpose: bytes) -> tuple[bytes, bytes]:
    """Return (public, secret)."""
    secret = z85.encode(_derived(token, purpose))
    return zmq.curve_public(secret), secret


def listen(socket: zmq.Socket[bytes], token: str, network: Network) -> str:
    """Bind a socket to a free port; return the address for `connect`.

    A `Gatekeeper` must run in the socket's context.
    """
    if network.encrypted:
        _, socket.curve_secretkey = _curve_keys(token, b"elasticdl server")
        socket.curve_server = True
    else:
        socket.plain_server = True
    socket.ipv6 = ":" in network.bind
    socket.bind(_TCP + network.listens_at("*"))
    port = socket.get_string(zmq.LAST_ENDPOINT).rpartition(":")[2]
    return (_CURVE if network.encrypted else _TCP) + network.reached_at(port)


def connect(socket: zmq.Socket[bytes], token: str, address: str) -> None:
    """Connect a socket to a server."""
    encrypted, place = address.startswith(_CURVE), address.removeprefix(_CURVE).removeprefix(_TCP)
    if not encrypted:
        socket.plain_username, socket.plain_password = _USER, _password(token)
    else:
        socket.curve_publickey, socket.curve_secretkey = _curve_keys(token, b"elasticdl client")
        socket.curve_serverkey, _ = _curve_keys(token, b"elasticdl server")
    socket.ipv6 = "[" in place
    socket.connect(_TCP + place)


class Gatekeeper:
    """Answers ZeroMQ's question, in a thread of its own, whether a peer may connect (ZAP, ZeroMQ RFC 27).

    Ends when the context does.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], token: str) -> None:
        self._password = _password(token)
        self._client_key = z85.decode(_curve_keys(token, b"elasticdl client")[0])
        self._refused = 0
        self._socket = context.socket(zmq.REP)
        self._socket.linger = 0
        self._socket.bind("inproc://zeromq.zap.01")
        threading.Thread(target=self._run, name="gatekeeper", daemon=True).start()

    def admits(self, mechanism: bytes, credentials: list[bytes]) -> bool:
        """Whether a peer with these credentials belongs to the job."""
        if mechanism == b"PLAIN" and len(credentials) == 2:
            return hmac.compare_digest(credentials[1], self._password)
        if mechanism == b"CURVE" and len(credentials) == 1:
            return hmac.compare_digest(credentials[0], self._client_key)
        return False

    def _run(self) -> None:
        with contextlib.suppress(zmq.ContextTerminated), self._socket:
            while True:
                version, request, _domain, peer, _identity, mechanism, *credentials = self._socket.recv_multipart()
                admitted = self.admits(mechanism, credentials)
                if not admitted:
                    self._log(peer)
                answer = (b"200", b"", b"worker") if admitted else (b"400", b"not of this job", b"")
                self._socket.send_multipart([version, request, *answer, b""])

    def _log(self, peer: bytes) -> None:
        """Log the first, second, fourth, eighth … refusal: repeated attempts must not fill the disk."""
        self._refused += 1
        if self._refused & (self._refused - 1) == 0:
            logger.warning("refused a peer at %s that is not of this job (%d so far)", peer.decode(), self._refused)
