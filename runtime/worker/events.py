"""TensorBoard event files in the job's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf


class EventFiles:
    """Scalars for TensorBoard, one run per name: `train`, `validation`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._writers: dict[str, Any] = {}

    def scalars(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Add values at a step."""
        if run not in self._writers:
            self._writers[run] = tf.summary.create_file_writer(str(self._directory / run))
        with self._writers[run].as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step=step)

    def close(self) -> None:
        """Write out what is buffered."""
        for writer in self._writers.values():
            writer.close()
