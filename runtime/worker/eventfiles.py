"""TensorBoard event files in the job's folder.

Written directly in the documented format (TFRecords of Event messages, the first of which names the version), because
`tf.summary` needs the tensorboard package to write scalars.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.framework.summary_pb2 import Summary
from tensorflow.core.util.event_pb2 import Event


class EventFiles:
    """Scalars for TensorBoard, one run per name: `train`, `validation`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._writers: dict[str, Any] = {}

    def scalars(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Add values at a step."""
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
        writer = self._writer(run)
        writer.write(Event(wall_time=time.time(), step=step, summary=summary).SerializeToString())
        writer.flush()

    def _writer(self, run: str) -> Any:
        if run not in self._writers:
            now = time.time()
            directory = self._directory / run
            directory.mkdir(parents=True, exist_ok=True)
            path = directory / f"events.out.tfevents.{now:.6f}.{socket.gethostname()}"
            self._writers[run] = tf.io.TFRecordWriter(str(path))
            self._writers[run].write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        return self._writers[run]

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()
