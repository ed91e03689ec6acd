"""Where a job's processes listen, how others reach them, and whether their connections are encrypted.

By default, all of a job's processes are on one machine and listen on its loopback address. A platform that spreads
them over machines sets these variables in the environment of each process, including the client and the supervisor:

``ELASTICDL_BIND``       the address to listen on; 0.0.0.0 or :: for all addresses of the machine
``ELASTICDL_ADVERTISE``  the host by which others reach the process, if it differs from the bound address
``ELASTICDL_ENCRYPT``    1 encrypts on loopback too; everything elsewhere is always encrypted
``ELASTICDL_PORT``       the port that the master listens on; by default any free one
``ELASTICDL_DASHBOARD_PORT``  the same for its dashboard, which is on the loopback address
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass

from elasticdl_nb.runtime.errors import OptionError


def is_loopback(host: str) -> bool:
    """Whether only processes on this machine can connect to an address."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return host == "localhost"


@dataclass(frozen=True)
class Network:
    """See the module's docstring; IPv6 addresses are written without brackets."""

    bind: str = "127.0.0.1"
    advertise: str = "127.0.0.1"
    encrypted: bool = False
    port: int = 0
    dashboard_port: int = 0

    @classmethod
    def at(
        cls, bind: str, advertise: str = "", *, encrypt: bool = False, port: int = 0, dashboard_port: int = 0
    ) -> Network:
        """Return how a process listens on `bind`; raises OptionError if it is not an address or not reachable."""
        try:
            address = ipaddress.ip_address(bind)
        except ValueError:
            raise OptionError("ELASTICDL_BIND", f"{bind!r} is not an IP address such as 0.0.0.0") from None
        if address.is_unspecified and not advertise:
            raise OptionError(
                "ELASTICDL_ADVERTISE", f"required with ELASTICDL_BIND={bind}, to which nobody can connect"
            )
        return cls(bind, advertise or bind, encrypt or not address.is_loopback, port, dashboard_port)

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Network:
        """Return the network that this process's environment describes."""
        return cls.at(
            environment.get("ELASTICDL_BIND") or cls.bind,
            environment.get("ELASTICDL_ADVERTISE", ""),
            encrypt=environment.get("ELASTICDL_ENCRYPT", "") not in ("", "0"),
            port=int(environment.get("ELASTICDL_PORT") or 0),
            dashboard_port=int(environment.get("ELASTICDL_DASHBOARD_PORT") or 0),
        )

    def listens_at(self, port: int | str) -> str:
        """HOST:PORT to bind."""
        return f"{_bracketed(self.bind)}:{port}"

    def reached_at(self, port: int | str) -> str:
        """HOST:PORT for others to connect to."""
        return f"{_bracketed(self.advertise)}:{port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
