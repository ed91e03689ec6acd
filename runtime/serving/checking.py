"""What a server may be told: refused before anything is started."""

from __future__ import annotations

import ipaddress
import re

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.serving.finding import must_be_there
from elasticdl_nb.runtime.serving.settings import Settings


def is_loopback(host: str) -> bool:
    """Whether an address can be reached only from this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked(settings: Settings) -> Settings:
    """Return the settings; raise OptionError for values that are not valid, or not safe."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", settings.name):
        raise OptionError("name", f"{settings.name!r}: use letters, digits, dots, dashes and underscores")
    for option, value in (("port", settings.port), ("grpc_port", settings.grpc_port)):
        if not 0 <= value < 65536:
            raise OptionError(option, f"{value}: expected 0 to 65535")
    for option, number, least in (
        ("max_batch", settings.max_batch, 1), ("timeout", settings.timeout, 0.001), ("batch_ms", settings.batch_ms, 0),
        ("max_request_mb", settings.largest >> 20, 1),
    ):  # fmt: skip
        if not number >= least:
            raise OptionError(option, f"{number}: expected at least {least}")
    if settings.batch_ms >= settings.timeout * 1000:
        raise OptionError("batch_ms", f"{settings.batch_ms:g}: no request may wait for longer than timeout allows")
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise OptionError("tls_key", "tls_cert and tls_key must be given together")
    if not is_loopback(settings.host) and not (settings.tls_cert and settings.token):
        raise OptionError(
            "host", f"{settings.host} is visible to other machines: tls_cert, tls_key and a token are required, so "
            "that nobody else can ask, and nobody in between can read"
        )  # fmt: skip
    if settings.token and not re.fullmatch(r"[\x21-\x7e]{8,}", settings.token):
        raise OptionError("token", "expected at least 8 letters, digits and signs without spaces")
    must_be_there(settings.trained_model)
    return settings
