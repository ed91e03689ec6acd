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
