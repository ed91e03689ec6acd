"""Converting metric states between NumPy arrays and messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from elasticdl_nb.runtime.protocol import master_pb2 as pb


def state_messages(states: Mapping[str, Sequence[np.ndarray]]) -> list[pb.MetricState]:
    """Return metric states as messages."""
    return [
        pb.MetricState(
            name=name,
            arrays=[pb.Array(shape=np.shape(array), values=np.asarray(array, np.float64).ravel()) for array in arrays],
        )
        for name, arrays in states.items()
    ]


def read_states(messages: Iterable[pb.MetricState]) -> dict[str, list[np.ndarray]]:
    """Return, as float64 arrays, the metric states that `state_messages` made into messages."""
    return {
        message.name: [np.array(array.values, np.float64).reshape(tuple(array.shape)) for array in message.arrays]
        for message in messages
    }
