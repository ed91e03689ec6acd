"""The ring's schedule, played without sockets."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from elasticdl_nb.runtime.allreduce.schedule import bounds, first_chunk, hops, segments


@given(world=st.integers(1, 9))
def test_every_rank_ends_with_every_chunk_s_sum_added_once(world: int) -> None:
    have = [[{rank} for _ in range(world)] for rank in range(world)]
    pipes: list[deque[tuple[int, set[int]]]] = [deque() for _ in range(world)]  # to the rank of that number
    for rank in range(world):
        if world > 1:
            mine = first_chunk(rank, world)
            pipes[(rank + 1) % world].append((mine, set(have[rank][mine])))
    plans = [list(hops(rank, world)) for rank in range(world)]
    for number in range(2 * (world - 1)):
        for rank in range(world):
            hop = plans[rank][number]
            chunk, came = pipes[rank].popleft()
            assert chunk == hop.chunk
            if not hop.is_sum:
                assert not came & have[rank][chunk], "nothing is added twice"
                came = came | have[rank][chunk]
            have[rank][chunk] = came
            if hop.passes_on:
                pipes[(rank + 1) % world].append((chunk, set(came)))
    assert have == [[set(range(world))] * world] * world
    assert not any(pipes), "all that was sent was received"


@given(length=st.integers(0, 1000), world=st.integers(1, 9), size=st.integers(1, 100))
def test_chunks_and_segments_cover_everything_once(length: int, world: int, size: int) -> None:
    limits = bounds(length, world)
    covered = [
        place
        for start, stop in pairwise(limits)
        for begin, end in segments(start, stop, size)
        for place in range(begin, end)
    ]
    assert covered == list(range(length))
