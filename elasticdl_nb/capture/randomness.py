"""The seed of the random numbers of `random` and of NumPy, whatever set it.

Their generators do not say which seed they started from. But a number that the notebook mentions where it speaks of
seeds can be tried: if the generator's state is one that this seed leads to, it is the one.
"""

from __future__ import annotations

import ast
import inspect
import random
import sys
from collections.abc import Iterator
from typing import Any

from elasticdl_nb.capture.dependencies import is_local_module
from elasticdl_nb.capture.processwide import seed_of_keras
from elasticdl_nb.capture.statements import value_of
from elasticdl_nb.capture.trace import Trace

Words = tuple[int, ...]
"""A twister's state, without its position in it."""

_WORDS = 624  # of a Mersenne twister's state, all of which change at once
_MOST_ROUNDS = 1500
_MOST_CANDIDATES = 8


def seed_of_python(trace: Trace) -> int | None:
    """Return the seed of the module `random`; None if it was not seeded, or is not known."""
    now = random.getstate()[1][:_WORDS]
    starts = ((seed, random.Random(seed).getstate()[1][:_WORDS]) for seed in candidates(trace))
    return next((seed for seed, start in starts if _leads_to(start, now)), None)


def seed_of_numpy(trace: Trace) -> int | None:
    """Return the seed of `numpy.random`; None if it was not seeded, or is not known."""
    if not is_numpy_seeded():
        return None
    generators = _loaded_numpy().random
    now = tuple(generators.get_state()[1].tolist())
    starts = ((seed, tuple(generators.RandomState(seed).get_state()[1].tolist())) for seed in candidates(trace))
    return next((seed for seed, start in starts if _leads_to(start, now)), None)


def is_numpy_seeded() -> bool:
    """Whether NumPy's random numbers have been seeded, or given a state, since it was loaded."""
    numpy = _loaded_numpy()
    return numpy is not None and getattr(numpy.random.mtrand._rand._bit_generator, "seed_seq", None) is None


def candidates(trace: Trace) -> list[int]:
    """Return numbers that may be seeds, in the order in which the notebook mentions them."""
    by_keras = seed_of_keras()
    found = [by_keras] if by_keras is not None else []
    for statement in trace.statements:
        if "seed" in statement.text.lower():
            for node in ast.walk(statement.node):
                value = value_of(trace.live, node) if isinstance(node, (ast.Name, ast.Constant)) else None
                found += [value] if type(value) is int else []
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) and is_local_module(module):
            found = [*_numbers_near_seeds(module), *found]
    found = [one for one in found if 0 <= one < 2**32]
    return list(dict.fromkeys(reversed(found)))[:_MOST_CANDIDATES]


def _numbers_near_seeds(module: Any) -> Iterator[int]:
    try:
        source = inspect.getsource(module)
    except (OSError, TypeError):
        return
    if "seed" in source.lower():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant) and type(node.value) is int:
                yield node.value


def _leads_to(start: Words, now: Words) -> bool:
    """Whether a twister comes from one state to the other within a million numbers."""
    numpy = _loaded_numpy()
    if numpy is None:
        generator = random.Random()
        generator.setstate((3, (*start, _WORDS), None))
        for _ in range(_MOST_ROUNDS):
            if generator.getstate()[1][:_WORDS] == now:
                return True
            generator.getrandbits(32 * _WORDS)
        return False
    same = numpy.random.RandomState()  # the same algorithm, and faster
    same.set_state(("MT19937", start, _WORDS))
    for _ in range(_MOST_ROUNDS):
        words = same.get_state()[1]
        if words[0] == now[0] and tuple(words.tolist()) == now:
            return True
        same.bytes(4 * _WORDS)
    return False


def _loaded_numpy() -> Any:
    numpy = sys.modules.get("numpy")
    return numpy if hasattr(numpy, "random") else None
