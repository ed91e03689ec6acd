"""The dense part of a version: what a checkpoint has of the model's variables."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.arrays import Array
from elasticdl_nb.runtime.parameters.checkpoints.local import MODEL
from elasticdl_nb.runtime.parameters.partition import Slice
from elasticdl_nb.runtime.protocol import trained_model_pb2 as pb


class DenseWeights:
    """The variables of a model that is kept by parameter servers, put together from their slices.

    Those that servers do not have, such as the states of random generators, are as they were when the job began.
    """

    def __init__(self, parameters: Path) -> None:
        self._arrays: dict[str, NDArray[Any]] = safetensors.numpy.load_file(parameters)
        self._there: dict[str, Array] = {}
        self._filled: dict[str, int] = {}

    def add(self, key: str, values: Array) -> None:
        """Take a slice, float32 [n]."""
        piece = Slice.parse(key)
        whole = self._there.setdefault(piece.name, np.zeros(piece.size, np.float32))
        whole[piece.start : piece.stop] = values
        self._filled[piece.name] = self._filled.get(piece.name, 0) + piece.stop - piece.start

    def write(self, target: Path) -> None:
        """Write all variables; raises DataError if slices are missing or a variable is not the model's."""
        for name, whole in self._there.items():
            there = self._arrays.get(name)
            if there is None or there.size != whole.size or self._filled[name] != whole.size:
                raise DataError(f"the checkpoint's {name} is not complete, or not a variable of the model")
            self._arrays[name] = whole.reshape(there.shape).astype(there.dtype)
        safetensors.numpy.save_file(self._arrays, os.fspath(target))


def copy_weights(checkpoint: Path, target: Path) -> Sequence[pb.Variable]:
    """Copy the variables from the checkpoint of a worker that has the whole model; return what they are."""
    shutil.copyfile(checkpoint / MODEL, target)
    return pb.Variables.FromString((checkpoint / MODEL).with_suffix(".pb").read_bytes()).variables
