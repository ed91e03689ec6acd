"""Connections to a job's master: plain on one machine, by TLS between machines.

An address is "HOST:PORT", or "tls://HOST:PORT". A job has a certificate authority of its own, whose key is made from
the job's token: whoever holds the token knows it, and nothing has to be handed out.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from typing import Any

import grpc

from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.network import Network

_TLS = "tls://"
_AUTHORITY = "authority.elasticdl.internal"
_NAME = "master.elasticdl.internal"
"""The host name in the certificate, whatever the master's address."""


def listen(server: Any, network: Network, token: str) -> str:
    """Have a gRPC server listen, on any free port unless the network names one; return the address for `connect`."""
    place = network.listens_at(network.port)
    if not network.encrypted:
        return network.reached_at(server.add_insecure_port(place))
    port = server.add_secure_port(place, grpc.ssl_server_credentials([_master_certificate(token)]))
    return _TLS + network.reached_at(port)


def connect(address: str, token: str, options: Sequence[tuple[str, Any]]) -> grpc.Channel:
    """Return a channel to the master at an address."""
    if not address.startswith(_TLS):
        return grpc.insecure_channel(address, options=options)
    return grpc.secure_channel(
        address.removeprefix(_TLS),
        grpc.ssl_channel_credentials(_authority(token)),
        options=[*options, ("grpc.ssl_target_name_override", _NAME)],
    )


def _authority(token: str) -> bytes:
    """Return the certificate of the job's own authority as PEM; all who have the token trust in the same key."""
    return _certificate(_AUTHORITY, _key(token), None)[1]


def _master_certificate(token: str) -> tuple[bytes, bytes]:
    """Return key and certificate of a job's master, signed by the job's authority, both as PEM."""
    return _certificate(_NAME, None, _key(token))


def _key(token: str) -> Any:
    """The authority's private key: a number below the order of the curve's group, which is almost 2^256."""
    ec = _cryptography().hazmat.primitives.asymmetric.ec
    derived = hashlib.blake2b(token.encode(), digest_size=32, person=b"elasticdl tls").digest()
    return ec.derive_private_key((int.from_bytes(derived, "big") >> 1) + 1, ec.SECP256R1())


def _certificate(subject: str, own: Any, issuer: Any) -> tuple[bytes, bytes]:
    """Return key and certificate of a subject; with a key of its `own` it is the authority, else `issuer` signs."""
    cryptography = _cryptography()
    x509, primitives = cryptography.x509, cryptography.hazmat.primitives
    is_authority = own is not None
    key = own or primitives.asymmetric.ec.generate_private_key(primitives.asymmetric.ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)

    def named(name: str) -> Any:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])

    certificate = (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named(_AUTHORITY))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks of machines differ, and jobs may take months.
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .sign(issuer or key, primitives.hashes.SHA256())
    )
    serialization = primitives.serialization
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, certificate.public_bytes(serialization.Encoding.PEM)


def _cryptography() -> Any:
    """Return the package, imported only by those who need it; raises ElasticDLError where it is not installed."""
    try:
        import cryptography.hazmat.primitives.asymmetric.ec
        import cryptography.hazmat.primitives.hashes
        import cryptography.hazmat.primitives.serialization
        import cryptography.x509
    except ImportError:
        raise ElasticDLError(
            "encryption between the processes of a job needs the package cryptography: pip install elasticdl_nb[tls]"
        ) from None
    return cryptography
