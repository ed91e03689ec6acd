"""The seed of the random numbers of `random` and of NumPy, whatever set it.

Their generators do not say which seed they started from. But a number that the notebook mentions where it speaks of
seeds can be tried: if the generator's state is one that this seed leads to, it is the one.
"""

from __future__ import annotations

import ast
import inspect
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

from elasticdl_nb.capture.dependencies import is_local_module
from elasticdl_nb.capture.processwide import seed_of_keras
from elasticdl_nb.capture.statements import value_of
from elasticdl_nb.capture.trace import Trace

_WORDS = 624  # of a Mersenne twister's state, all of which change at once
_MOST_ROUNDS = 4000
_MOST_CANDIDATES = 40


def seed_of_python(trace: Trace) -> int | None:
    """Return the seed of the module `random`; None if it was not seeded, or is not known."""
    return _last_that_leads_to(random.getstate()[1][:_WORDS], _python, candidates(trace))


def seed_of_numpy(trace: Trace) -> int | None:
    """Return the seed of `numpy.random`; None if it was not seeded, or is not known."""
    return _last_that_leads_to(tuple(_loaded_numpy().random.get_state()[1].tolist()), _numpy, candidates(trace))


def is_numpy_seeded() -> bool:
    """Whether NumPy's random numbers have been seeded, or given a state, since it was loaded."""
    numpy = _loaded_numpy()
    return hasattr(numpy, "random") and getattr(numpy.random.mtrand._rand._bit_generator, "seed_seq", None) is None


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


def _last_that_leads_to(
    words: tuple[int, ...], rounds: Callable[[int], Iterator[tuple[int, ...]]], seeds: list[int]
) -> int | None:
    return next((seed for seed in seeds if any(one == words for one in rounds(seed))), None)


def _python(seed: int) -> Iterator[tuple[int, ...]]:
    """The words of the generator's state after each round of numbers."""
    generator = random.Random(seed)
    for _ in range(_MOST_ROUNDS):
        yield generator.getstate()[1][:_WORDS]
        generator.getrandbits(32 * _WORDS)


def _numpy(seed: int) -> Iterator[tuple[int, ...]]:
    generator = _loaded_numpy().random.RandomState(seed)
    for _ in range(_MOST_ROUNDS):
        yield tuple(generator.get_state()[1].tolist())
        generator.bytes(4 * _WORDS)


def _loaded_numpy() -> Any:
    return sys.modules.get("numpy")
