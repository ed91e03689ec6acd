"""Everything that training changes in a model and its optimizer, as bytes and back.

For workers: importing this module loads TensorFlow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


class ModelState:
    """The variables of a built model and its built optimizer: weights, statistics, slots, counters, random states.

    The optimizer may be anything that has `variables`, Keras' or TensorFlow's.
    """

    def __init__(self, model: keras.Model, optimizer: Any) -> None:
        given = [*model.trainable_variables, *model.non_trainable_variables, *optimizer.variables]
        self._variables = list({id(variable): variable for variable in given}.values())
        self._random = [one for one in self._variables if getattr(one, "path", "").endswith("seed_generator_state")]
        arrays = [np.asarray(variable) for variable in self._variables]
        self._forms = [(array.shape, array.dtype) for array in arrays]
        self.nbytes = sum(array.nbytes for array in arrays)
        text = repr([(shape, dtype.name) for shape, dtype in self._forms]).encode()
        self.form = hashlib.blake2b(text, digest_size=16).hexdigest()

    def read(self) -> NDArray[np.uint8]:
        """Return the values of all variables, uint8 [nbytes]."""
        result = np.empty(self.nbytes, np.uint8)
        start = 0
        for variable in self._variables:
            array = np.ascontiguousarray(np.asarray(variable)).reshape(-1).view(np.uint8)
            result[start : start + len(array)] = array
            start += len(array)
        return result

    def write(self, data: NDArray[np.uint8]) -> None:
        """Give all variables the values that `read` returned."""
        start = 0
        for variable, (shape, dtype) in zip(self._variables, self._forms, strict=True):
            stop = start + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            variable.assign(data[start:stop].copy().view(dtype).reshape(shape))
            start = stop

    def random(self) -> list[np.ndarray]:
        """Return the states of the layers' random generators, for `give_random`."""
        return [np.asarray(variable).copy() for variable in self._random]

    def give_random(self, states: Iterable[np.ndarray]) -> None:
        """Let the layers' random generators go on from these states."""
        for variable, state in zip(self._random, states, strict=True):
            variable.assign(state)

    def diversify(self, number: int) -> None:
        """Make the layers' random generators continue differently for different numbers."""
        for variable in self._random:
            state = np.asarray(variable).copy()
            state[0] ^= np.array(number * 2_654_435_761 % (1 << 31), state.dtype)
            variable.assign(state)
