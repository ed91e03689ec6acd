"""The certificates of a job, whose certificate authority is derived from its token.

The authority's key is made from the token: whoever holds the token knows whom to trust and can prove that it belongs to
the job. Nothing else has to be distributed.
"""

from __future__ import annotations

import datetime
import hashlib
from typing import Any

from elasticdl_nb.runtime.errors import ElasticDLError

_AUTHORITY = "authority.elasticdl.internal"


def authority(token: str) -> bytes:
    """Return the certificate of the job's own authority as PEM; all who have the token trust the same key."""
    return _certificate(_AUTHORITY, _key(token), None)[1]


def issued(token: str, name: str) -> tuple[bytes, bytes]:
    """Return a new key and its certificate for a host name, signed by the job's authority, both as PEM."""
    return _certificate(name, None, _key(token))


def _key(token: str) -> Any:
    """The authority's private key: a number below the order of the curve's group, which is almost 2^256."""
    ec = _cryptography().hazmat.primitives.asymmetric.ec
    derived = hashlib.blake2b(token.encode(), digest_size=32, person=b"elasticdl tls").digest()
    return ec.derive_private_key((int.from_bytes(derived, "big") >> 1) + 1, ec.SECP256R1())


def _certificate(subject: str, own: Any, issuer: Any) -> tuple[bytes, bytes]:
    """Return the key and certificate of a subject; with its `own` key it is the authority, else `issuer` signs."""
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
        # Machines' clocks differ, and jobs may take months.
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
    """Return the package, imported only when it is needed; raises ElasticDLError where it is not installed."""
    try:
        import cryptography.hazmat.primitives.asymmetric.ec
        import cryptography.hazmat.primitives.hashes
        import cryptography.hazmat.primitives.serialization
        import cryptography.x509
    except ImportError:
        raise ElasticDLError(
            "encryption between a job's processes requires the package cryptography: pip install elasticdl_nb[tls]"
        ) from None
    return cryptography
