"""Work on many rows, spread over the machine's cores: kernels run without the GIL."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

SMALLEST = 16384
"""Fewer rows than these are not worth another thread."""
_MOST_THREADS = 4


def spread(work: Callable[[int, int], None], count: int) -> None:
    """Call `work(start, stop)` with ranges that cover `count` rows, at the same time; see `parameters.table.Spread`."""
    parts = min(_cores(), _MOST_THREADS, max(1, count // SMALLEST))
    borders = [count * part // parts for part in range(parts + 1)]
    others = [_pool().submit(work, *ends) for ends in pairwise(borders[1:])]
    try:
        work(*borders[:2])
    finally:
        for other in others:
            other.result()


@cache
def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MOST_THREADS - 1, thread_name_prefix="rows")
