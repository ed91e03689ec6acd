"""Keras' settings, which a model's code may change for itself, but not for the process that opens it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import keras

_FIRST = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}
"""What they are in a new process, unless the user's keras.json has others."""
_POLICY = "dtype_policy"


@contextlib.contextmanager
def settings_of_a_new_process() -> Iterator[None]:
    """Begin with the settings with which workers begin, and return to those of this process."""
    state = keras.src.backend.common.global_state
    before = {name: getattr(keras.config, name)() for name in _FIRST}
    policy = state.get_global_attribute(_POLICY)
    first = dict(_FIRST)
    with contextlib.suppress(OSError, ValueError):
        first |= json.loads(Path(keras.src.backend.config._config_path).read_bytes())
    state.set_global_attribute(_POLICY, None)
    _set(first)
    try:
        yield
    finally:
        state.set_global_attribute(_POLICY, policy)
        _set(before)


def _set(values: dict[str, object]) -> None:
    for name in _FIRST:
        getattr(keras.config, f"set_{name}")(values[name])
