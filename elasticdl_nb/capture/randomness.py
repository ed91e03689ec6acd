"""The seed of the random numbers of `random` and of NumPy, whatever set it.

Their generators do not say which seed they started from. But a number that the notebook mentions where it speaks of
seeds can be tried: if the generator's state is one that this seed leads to, it is the one.
"""

from __future__ import annotations

import ast
import inspect
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from elasticdl_nb.capture.dependencies import is_local_module
from elasticdl_nb.capture.processwide import seed_of_keras
from elasticdl_nb.capture.statements import value_of
from elasticdl_nb.capture.trace import Trace

_WORDS = 624  # of a Mersenne twister's state, all of which change at once
_MIDDLE = 397  # how far ahead is the word that each is mixed with
_UPPER, _LOWER, _MATRIX = 0x80000000, 0x7FFFFFFF, 0x9908B0DF
_MOST_ROUNDS = 1500  # of 624 words: a million numbers
_MOST_CANDIDATES = 5000


def seed_of_python(trace: Trace) -> int | None:
    """Return the seed of the module `random`; None if it was not seeded, or is not known."""
    return _seed_before(random.getstate()[1][:_WORDS], lambda seed: random.Random(seed).getstate()[1][:_WORDS], trace)


def seed_of_numpy(trace: Trace) -> int | None:
    """Return the seed of `numpy.random`; None if it was not seeded, or is not known."""
    if not is_numpy_seeded():
        return None
    generators = _loaded_numpy().random
    return _seed_before(generators.get_state()[1], lambda seed: generators.RandomState(seed).get_state()[1], trace)


def is_numpy_seeded() -> bool:
    """Whether NumPy's random numbers have been seeded, or given a state, since it was loaded."""
    numpy = _loaded_numpy()
    return numpy is not None and getattr(numpy.random.mtrand._rand._bit_generator, "seed_seq", None) is None


def candidates(trace: Trace) -> list[int]:
    """Return numbers that may be seeds, those that the notebook has mentioned last first."""
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


def _seed_before(now: Sequence[int], start_of: Callable[[int], Sequence[int]], trace: Trace) -> int | None:
    """Return the candidate whose first state a twister has had within its last million numbers."""
    import numpy as np

    # Only the highest bit of a state's first word has any effect, so going back does not find its other bits.
    seeds = {np.array(start_of(seed), np.uint32)[1:].tobytes(): seed for seed in candidates(trace)}
    if not seeds:
        return None
    words = np.array(now, np.uint32)
    for _ in range(_MOST_ROUNDS):
        if (found := seeds.get(words[1:].tobytes())) is not None:
            return found
        words = _round_before(words)
    return None


def _round_before(words: Any) -> Any:
    """Return the 624 words that these, uint32 in an array, were made from.

    The recurrence of Matsumoto and Nishimura, "Mersenne Twister" (1998), solved for its oldest word. As each word
    needs only those 396 and more after it, hundreds of them are found at once.
    """
    import numpy as np

    both = np.concatenate([np.zeros(_WORDS, np.uint32), words])
    step = _MIDDLE - 1
    for end in range(_WORDS, 0, -step):
        begin = max(end - step, 0)
        # `mixed[i]` comes from the upper bit of the word before place `begin + i`, and the lower bits of that word.
        later = both[begin + _WORDS - 1 : end + _WORDS] ^ both[begin + _MIDDLE - 1 : end + _MIDDLE]
        odd = later >> 31
        mixed = ((later ^ (odd * np.uint32(_MATRIX))) << 1) | odd
        both[begin:end] = (mixed[1:] & _UPPER) | (mixed[:-1] & _LOWER)
    return both[:_WORDS]


def _loaded_numpy() -> Any:
    numpy = sys.modules.get("numpy")
    return numpy if hasattr(numpy, "random") else None
