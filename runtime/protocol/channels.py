"""Connections to a job's master: plain on one machine, with TLS between machines.

An address is "HOST:PORT", or "tls://HOST:PORT".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc

from elasticdl_nb.runtime.protocol import certificates
from elasticdl_nb.runtime.protocol.network import Network

_TLS = "tls://"
_NAME = "master.elasticdl.internal"
"""The host name in the certificate, whatever the master's address."""


STRANGERS_SECONDS = 5.0
"""How long a caller may be connected before it has authenticated."""

_STRANGERS_BYTES = 64 << 10
_HEAD_BYTES = 16 << 10
_CALLS_AT_ONCE = 32


def server_options(largest: int) -> list[tuple[str, Any]]:
    """Return the options of a gRPC server whose callers send at most `largest` bytes at a time.

    A caller that has not authenticated yet cannot make the server hold much, and cannot stay: messages are read when
    the server asks for them, and until then it accepts only as much of them as these options allow.
    """
    return [
        ("grpc.max_receive_message_length", largest),
        ("grpc.so_reuseport", 0),
        ("grpc.server_handshake_timeout_ms", int(STRANGERS_SECONDS * 1000)),
        # For connections without a call; a legitimate caller reconnects automatically.
        ("grpc.max_connection_idle_ms", int(STRANGERS_SECONDS * 1000)),
        ("grpc.max_concurrent_streams", _CALLS_AT_ONCE),
        ("grpc.max_metadata_size", _HEAD_BYTES),
        ("grpc.absolute_max_metadata_size", _HEAD_BYTES),
        # Otherwise the windows grow with what fast callers send, whether it is read or not.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _STRANGERS_BYTES),
    ]


def listen(server: Any, network: Network, token: str) -> str:
    """Make a gRPC server listen, on any free port unless the network names one; return the address for `connect`."""
    place = network.listens_at(network.port)
    if not network.encrypted:
        return network.reached_at(server.add_insecure_port(place))
    port = server.add_secure_port(place, grpc.ssl_server_credentials([certificates.issued(token, _NAME)]))
    return _TLS + network.reached_at(port)


def connect(address: str, token: str, options: Sequence[tuple[str, Any]]) -> grpc.Channel:
    """Return a channel to the master at an address."""
    if not address.startswith(_TLS):
        return grpc.insecure_channel(address, options=options)
    return grpc.secure_channel(
        address.removeprefix(_TLS),
        grpc.ssl_channel_credentials(certificates.authority(token)),
        options=[*options, ("grpc.ssl_target_name_override", _NAME)],
    )
