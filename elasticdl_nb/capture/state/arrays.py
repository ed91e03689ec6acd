"""Looks at the memory of arrays and tensors, without copying it. Imports neither NumPy nor TensorFlow."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TypeVar

T = TypeVar("T")

LARGE = 1 << 16
"""From this many bytes, arrays are used where they are instead of being copied."""
_MOST = 100  # arrays of a group to compare another one with


def array_of(tensor: Any) -> Any:
    """Return the values of an eager tensor or variable of TensorFlow, as its `numpy()` does.

    A large array is read-only, and shares the tensor's memory. It keeps its values when a variable gets others.
    """
    value = tensor.read_value() if hasattr(tensor, "read_value") else tensor
    try:
        view = memoryview(value)
        if view.nbytes >= LARGE and view.format != "O":
            return sys.modules["numpy"].asarray(view)
    except (TypeError, ValueError, BufferError):  # bfloat16 and its like
        pass
    return value.numpy()


def same_values(one: Any, other: Any, step: int = 1 << 18) -> bool:
    """Whether two arrays have the same shape and numbers; stops at the first block that differs."""
    if one.shape != other.shape:
        return False
    one, other = one.reshape(-1), other.reshape(-1)
    return all(bool((one[at : at + step] == other[at : at + step]).all()) for at in range(0, one.size, step))


def sharing(arrays: Iterable[tuple[Any, T]]) -> list[list[tuple[Any, T]]]:
    """Return groups of arrays, each with what it came with, in which one reaches the memory of another.

    They are in the order in which they were given. Groups that nobody can change are left out: they may share or not.
    """
    numpy: Any = sys.modules.get("numpy")
    found = list(arrays)
    given = {id(one[0]): place for place, one in enumerate(found)}
    placed = [(*numpy.lib.array_utils.byte_bounds(one[0]), one) for one in found if one[0].size]
    groups: list[list[tuple[Any, T]]] = []
    open_from, end = 0, 0  # the groups from this one on may reach the next array
    for low, high, one in sorted(placed, key=lambda item: item[:2]):
        open_from = len(groups) if low >= end else open_from
        end = max(end, high)
        apart, together = [], [one]
        for group in groups[open_from:]:
            if any(_meet(one[0], other[0]) for other in group[:_MOST]):
                together = group + together
            else:
                apart.append(group)
        groups[open_from:] = [*apart, together]
    shared = [group for group in groups if len(group) > 1 and any(one[0].flags.writeable for one in group)]
    return [sorted(group, key=lambda one: given[id(one[0])]) for group in shared]


def _meet(one: Any, other: Any) -> bool:
    numpy = sys.modules["numpy"]
    try:
        return bool(numpy.shares_memory(one, other, max_work=10_000))
    except numpy.exceptions.TooHardError:
        return True
