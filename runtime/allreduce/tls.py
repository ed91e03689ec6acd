"""Encryption of a ring's connections between machines: the end that is called shows a certificate of the job."""

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
    """Both ends' settings, made once from a job's token. Only TLS 1.3 is spoken."""

    def __init__(self, token: str) -> None:
        self._calling = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which checks certificates and names
        self._calling.load_verify_locations(cadata=certificates.authority(token).decode())
        self._called = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._called.num_tickets = 0  # nobody resumes, and nothing shall arrive that is not the ring's
        with tempfile.NamedTemporaryFile() as file:  # readable by its owner only; the module takes nothing but files
            file.write(b"".join(certificates.issued(token, _NAME)))
            file.flush()
            self._called.load_cert_chain(file.name)
        for context in (self._calling, self._called):
            context.minimum_version = ssl.TLSVersion.TLSv1_3

    def wrap(self, peer: socket.socket, is_called: bool, is_late: Callable[[], bool]) -> ssl.SSLSocket:
        """Return the socket, which has a short timeout, encrypted; it is closed if that fails.

        Raises OSError, if it does: when the other end is not of the job, too.
        """
        context = self._called if is_called else self._calling
        name = None if is_called else _NAME
        wrapped = context.wrap_socket(peer, server_side=is_called, do_handshake_on_connect=False, server_hostname=name)
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
