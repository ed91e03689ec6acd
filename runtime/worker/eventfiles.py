"""TensorBoard event files in the job's folder.

Written directly in the documented format (TFRecords of Event messages, the first of which names the version), because
`tf.summary` needs the tensorboard package to write scalars.

They are an extra: while they cannot be written, because the disk is full, say, the job goes on without them.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.framework.summary_pb2 import Summary
from tensorflow.core.util.event_pb2 import Event

from elasticdl_nb.runtime.storage.pauses import pause_after

_FAILURES = (OSError, tf.errors.OpError)


class EventFiles:
    """Scalars for TensorBoard, one run per name: `train`, `validation`; `note` takes (level, text) for users."""

    def __init__(
        self, directory: Path, note: Callable[[str, str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._directory, self._note, self._clock = directory, note, clock
        self._writers: dict[str, Any] = {}
        self._failures = 0
        self._again = 0.0

    def scalars(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Add values at a step; they are lost while nothing can be written."""
        if self._failures and self._clock() < self._again:
            return
        try:
            self._add(run, step, values)
        except _FAILURES as error:
            self._failed(error)
        else:
            if self._failures:
                self._note("info", "TensorBoard's event files can be written again")
            self._failures = 0

    def _failed(self, error: Exception) -> None:
        # The file may end in the middle of a record, where readers stop: the next try begins another.
        self.close()
        self._failures += 1
        self._again = self._clock() + pause_after(self._failures)
        if self._failures == 1:
            self._note("warning", f"TensorBoard's event files could not be written: {error}; the job goes on without")

    def _add(self, run: str, step: int, values: Mapping[str, float]) -> None:
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
        while self._writers:
            _, writer = self._writers.popitem()
            with contextlib.suppress(*_FAILURES):
                writer.close()
