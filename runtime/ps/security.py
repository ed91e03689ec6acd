"""Who may connect to a parameter server, and what others can read of the traffic.

On one machine, servers have no port: their sockets are files in a folder that only the job's user can enter, and a peer
presents a secret derived from the job's token; an address is "ipc://PATH". Between machines, everything is encrypted
and both ends identify themselves with CURVE keys derived from the token; an address is "curve://HOST:PORT". A server
refuses all other peers before it accepts a message.

ZeroMQ has a single limit for the size of frames, whether the peer has authenticated yet or not. A stranger can make a
server hold that much, so on a port, which strangers can reach, frames are cut into small pieces (`wire.cut`).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import shutil
import tempfile
import threading
from pathlib import Path

import zmq
from zmq.utils import z85

from elasticdl_nb.runtime.protocol.network import Network

logger = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 5
"""How long a peer may take to show that it belongs to the job."""

_USER = b"worker"
_IPC, _TCP, _CURVE = "ipc://", "tcp://", "curve://"
_FRAME_OF_STRANGERS = 64 << 10
_LONGEST_PATH = 100  # bytes; the operating system limits the path of a socket's file


def _derived(token: str, purpose: bytes) -> bytes:
    return hashlib.blake2b(token.encode(), digest_size=32, person=purpose).digest()


def _password(token: str) -> bytes:
    return _derived(token, b"elasticdl plain").hex().encode()


def _curve_keys(token: str, purpose: bytes) -> tuple[bytes, bytes]:
    """Return (public, secret)."""
    secret = z85.encode(_derived(token, purpose))
    return zmq.curve_public(secret), secret


def is_encrypted(address: str) -> bool:
    """Whether traffic with this address is encrypted, and its frames are cut into pieces."""
    return address.startswith(_CURVE)


def listen(socket: zmq.Socket[bytes], token: str, network: Network, frame: int, folder: Path | None = None) -> str:
    """Bind a socket to a free port or a new file; return the address for `connect`.

    `frame` is the size of the largest frame, in bytes, until `widen`. On one machine, the socket's file is in a new
    folder inside `folder`, or inside the folder for temporary files; `leave` removes it. A `Gatekeeper` must run in the
    socket's context.
    """
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_SECONDS * 1000)
    if not network.encrypted:
        socket.maxmsgsize, socket.plain_server = frame, True
        path = os.path.join(_private_folder(folder), "s")
        socket.bind(_IPC + path)
        return _IPC + path
    socket.maxmsgsize = min(frame, _FRAME_OF_STRANGERS)
    _, socket.curve_secretkey = _curve_keys(token, b"elasticdl server")
    socket.curve_server = True
    socket.ipv6 = ":" in network.bind
    socket.bind(_TCP + network.listens_at("*"))
    port = socket.get_string(zmq.LAST_ENDPOINT).rpartition(":")[2]
    return _CURVE + network.reached_at(port)


def widen(socket: zmq.Socket[bytes], address: str, frame: int) -> str:
    """Accept frames of up to so many bytes on new connections; return the address for those.

    ZeroMQ keeps the limit that a place had when it was bound, so this is another place. Frames cut into pieces stay
    small, whatever the messages' size.
    """
    if is_encrypted(address):
        return address
    socket.maxmsgsize = frame
    place = f"{address}{frame:x}"
    socket.bind(place)
    return place


def _private_folder(within: Path | None) -> str:
    """Make a folder with mode 0700 whose name leaves room for a socket's."""
    folder = tempfile.mkdtemp(prefix="elasticdl-ps-", dir=within)
    if len(folder) <= _LONGEST_PATH:
        return folder
    os.rmdir(folder)
    return tempfile.mkdtemp(prefix="elasticdl-ps-", dir="/tmp")


def leave(address: str) -> None:
    """Remove the files that `listen` made on this machine."""
    if address.startswith(_IPC):
        shutil.rmtree(os.path.dirname(address.removeprefix(_IPC)), ignore_errors=True)


def connect(socket: zmq.Socket[bytes], token: str, address: str) -> None:
    """Connect a socket to a server."""
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_SECONDS * 1000)
    if not is_encrypted(address):
        socket.plain_username, socket.plain_password = _USER, _password(token)
        socket.connect(address)
        return
    socket.curve_publickey, socket.curve_secretkey = _curve_keys(token, b"elasticdl client")
    socket.curve_serverkey, _ = _curve_keys(token, b"elasticdl server")
    socket.ipv6 = "[" in address
    socket.connect(_TCP + address.removeprefix(_CURVE))


class Gatekeeper:
    """Tells ZeroMQ, in its own thread, whether a peer may connect (ZAP, ZeroMQ RFC 27).

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
            logger.warning("refused a peer at %s that is not in this job (%d so far)", peer.decode(), self._refused)
