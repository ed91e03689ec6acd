"""Encryption of a ring's connections between machines: the end that is called presents the job's certificate."""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
from collections.abc import Callable

from elasticdl_nb.runtime.protocol import certificates

_NAME = "worker.elasticdl.internal"
"""The host name in the certificates, whatever the address."""


class Tls:
    """Both ends' settings, made once from a job's token. Only TLS 1.3 is used."""

    def __init__(self, token: str) -> None:
        self._calling = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which checks certificates and names
        self._calling.load_verify_locations(cadata=certificates.authority(token).decode())
        self._called = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._called.num_tickets = 0  # nobody resumes a session, and only the ring's data may arrive
        with tempfile.NamedTemporaryFile() as file:  # readable only by its owner; the ssl module accepts only files
            file.write(b"".join(certificates.issued(token, _NAME)))
            file.flush()
            self._called.load_cert_chain(file.name)
        for context in (self._calling, self._called):
            context.minimum_version = ssl.TLSVersion.TLSv1_3

    def begun(self, peer: socket.socket, *, is_called: bool) -> ssl.SSLSocket:
        """Return the socket as one whose `do_handshake` is still to be called."""
        context = self._called if is_called else self._calling
        name = None if is_called else _NAME
        return context.wrap_socket(peer, server_side=is_called, do_handshake_on_connect=False, server_hostname=name)

    def wrap(self, peer: socket.socket, is_late: Callable[[], bool]) -> ssl.SSLSocket:
        """Return a caller's socket, which has a short timeout, encrypted; it is closed if that fails.

        Raises OSError if that fails, including when the other end does not belong to the job.
        """
        wrapped = self.begun(peer, is_called=False)
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    wrapped.do_handshake()
                    return wrapped
                if is_late():
                    raise TimeoutError("time is up")
        except OSError:
            wrapped.close()
            raise
