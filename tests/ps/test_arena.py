import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticdl_nb.runtime.ps.arena import ALIGNMENT, Arena, padded

SIZE = 40 * ALIGNMENT


@given(st.lists(st.one_of(st.integers(0, 9 * ALIGNMENT), st.none()), max_size=60), st.randoms(use_true_random=False))
def test_blocks_never_overlap_and_all_that_is_given_back_is_there_again(wishes, choice):
    arena, used = Arena(SIZE, start=30), {}
    for wish in wishes:
        if wish is None:
            if used:
                place = choice.choice(sorted(used))
                arena.give(place)
                del used[place]
            continue
        place = arena.take(wish)
        if place is None:
            free = SIZE - sum(padded(max(1, count)) for count in used.values())
            assert wish > 0 and free < SIZE  # what is free may be in pieces
            continue
        assert place % ALIGNMENT == 0 and place >= 30 and place + wish <= SIZE
        assert all(place + wish <= other or other + count <= place for other, count in used.items())
        assert place not in used
        used[place] = wish
    for place in used:
        arena.give(place)
    assert arena.take(SIZE - ALIGNMENT) == ALIGNMENT


def test_the_lowest_place_is_taken():
    arena = Arena(SIZE)
    first, second, third = (arena.take(100) for _ in range(3))
    assert (first, second, third) == (0, 128, 256)
    arena.give(second)
    assert arena.take(65) == second
    assert arena.take(65) == 384


@pytest.mark.parametrize("count", [SIZE + 1, SIZE + ALIGNMENT, 1 << 60])
def test_there_is_no_more_than_there_is(count):
    assert Arena(SIZE).take(count) is None
