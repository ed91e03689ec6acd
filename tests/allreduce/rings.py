"""Rings of threads on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from elasticdl_nb.runtime.allreduce.collective import Collective
from elasticdl_nb.runtime.allreduce.connect import Listener
from elasticdl_nb.runtime.protocol.network import Network

TOKEN = "secret"


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Make all calls at the same time; raises what any raises."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(timeout=60) for future in [pool.submit(call) for call in calls]]


@contextmanager
def ring(world: int, network: Network | None = None, **options: Any) -> Iterator[list[Collective]]:
    """Connected collectives, one for each rank."""
    listeners = [Listener(TOKEN, network) for _ in range(world)]
    addresses = [listener.address for listener in listeners]
    ranks = at_once(
        [lambda r=r: listeners[r].connect(1, r, addresses, **options) for r in range(world)]  # type: ignore[misc]
    )
    try:
        yield ranks
    finally:
        for one in (*ranks, *listeners):
            one.close()
