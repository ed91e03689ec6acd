"""Which values travel together: plain arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

BUCKET_BYTES = 4 << 20
"""Large enough that the cost of a call is negligible, small enough that the first is full long before the last."""

_SMALLEST, _PARTS = 256 << 10, 4


def limit_of(total: int) -> int:
    """Return the bytes of a bucket for so many of all values: small models, too, have several to send one by one."""
    return min(BUCKET_BYTES, max(_SMALLEST, total // _PARTS))


def groups(sizes: Sequence[int], kinds: Sequence[str], limit: int) -> list[list[int]]:
    """Group values into buckets and return their positions; a bucket has one kind (dtype) and about `limit` bytes.

    A bucket may also hold one larger value. The last values come first, as a backward pass has their gradients first.
    """
    result: list[list[int]] = []
    filled: dict[str, tuple[int, int]] = {}
    for place in reversed(range(len(sizes))):
        kind, size = kinds[place], sizes[place]
        bucket, have = filled.get(kind, (-1, limit))
        if bucket < 0 or have + size > limit:
            bucket, have = len(result), 0
            result.append([])
        result[bucket].append(place)
        filled[kind] = (bucket, have + size)
    return result
