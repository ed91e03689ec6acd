"""A worker's connection to its job's parameter servers: which they are, and what to do when they are lost."""

from __future__ import annotations

import itertools
import os
import time

from elasticdl_nb.runtime.parameters.api import ServersLost
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.ps.client import TIMEOUT, ParameterClient
from elasticdl_nb.runtime.worker.part import Part

NEW_SERVERS_SECONDS = 60.0
"""How long a worker that has lost its servers waits for the master to name others."""
PROBE_SECONDS = 3.0
"""How long it waits before it tries to reach the same ones again, and then for their answer."""


class Connection:
    """Knows the servers that the master names, and those of them that the worker uses."""

    def __init__(self, part: Part) -> None:
        self._session, self._synchronous = part.session, not part.spec.use_async
        self._token = part.folder.token()
        self._worker = f"worker {part.number}, process {os.getpid()}"
        self._numbers = itertools.count(1)
        self._generation = 0

    def other_servers(self) -> pb.Servers | None:
        """Wait until the current servers are up; return them if they are not those in use."""
        servers = self._session.servers()
        return servers if servers is not None and servers.generation != self._generation else None

    def to(self, servers: pb.Servers) -> ParameterClient:
        """Connect to these servers, and use them from now on."""
        self._generation = servers.generation
        return self._client(servers)

    def wait_for_others(self) -> bool:
        """The servers in use are lost: wait to see what happens; return whether others take their place.

        If not, then the same ones answer again (only the connection was lost), no others are named, or the worker must
        leave. Servers that answer again count as other servers from then on.
        """
        self._session.activity("waiting")
        deadline = time.monotonic() + NEW_SERVERS_SECONDS
        while self._session.servers(newer_than=self._generation, timeout=PROBE_SECONDS) is None:
            if self._session.sent_away or self._answer() or time.monotonic() > deadline:
                self._generation = 0
                return False
        return True

    def _answer(self) -> bool:
        servers = self._session.servers(timeout=0)
        if servers is None or servers.generation != self._generation:
            return False
        client = self._client(servers, PROBE_SECONDS)
        try:
            return all(status["generation"] == self._generation for status in client.status())
        except ServersLost:
            return False
        finally:
            client.close()

    def _client(self, servers: pb.Servers, timeout: float = TIMEOUT) -> ParameterClient:
        # Each connection counts its pushes from the start.
        source = f"{self._worker}, connection {next(self._numbers)}"
        return ParameterClient(
            servers.addresses, self._token, generation=servers.generation, source=source,
            synchronous=self._synchronous, timeout=timeout,
        )  # fmt: skip
