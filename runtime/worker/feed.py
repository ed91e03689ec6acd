"""From tasks to batches: reads ahead, so that the next task's records are parsed while the current one computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from elasticdl_nb.runtime.data.reader import Reader
from elasticdl_nb.runtime.data.tensors import record_dataset
from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.runtime.protocol import master_pb2 as pb

MODES = {pb.TRAIN: Mode.TRAINING, pb.EVALUATE: Mode.EVALUATION, pb.PREDICT: Mode.PREDICTION}

Batch = Any
"""What the model's data function makes: (features, labels), or features alone for prediction."""


@dataclass
class Work:
    """A task and its batches; taking the batches raises what went wrong in reading them."""

    task: pb.Task
    batches: Iterator[Batch] = field(default_factory=lambda: iter(()))


class BatchSource:
    """The batches of one mode: its dataset is built once, and iterated once for each task."""

    def __init__(
        self, reader: Reader, make: Callable[[tf.data.Dataset, Reader], tf.data.Dataset],
    ) -> None:  # fmt: skip
        self._spans: list[tuple[str, int, int]] = []
        self.dataset = make(record_dataset(reader, lambda: self._spans), reader)

    def batches(self, task: pb.Task) -> Iterator[Batch]:
        """Return the task's batches, the first one read already."""
        self._spans = [(span.path, span.start, span.end) for span in task.ranges]
        iterator = iter(self.dataset)
        try:
            first = next(iterator)
        except StopIteration:
            return iter(())
        return _chain(first, iterator)


def _chain(first: Batch, rest: Iterator[Batch]) -> Iterator[Batch]:
    yield first
    yield from rest


def _raising(error: BaseException) -> Iterator[Batch]:
    raise error
    yield


class Feed:
    """Iterates over the work the master sends, one task read ahead of the one in use.

    `source(task)` returns the BatchSource for a task's kind, or None for a task without records.
    """

    def __init__(self, tasks: queue.Queue[pb.Task | None], source: Callable[[pb.Task], BatchSource | None]) -> None:
        self._tasks = tasks
        self._source = source
        self._ready: queue.Queue[Work | None] = queue.Queue(maxsize=1)
        threading.Thread(target=self._run, name="feed", daemon=True).start()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            self._ready.put(self._work(task))
        self._ready.put(None)

    def _work(self, task: pb.Task) -> Work:
        if not task.ranges:
            return Work(task)
        try:
            source = self._source(task)
            return Work(task, source.batches(task)) if source else Work(task)
        except Exception as error:  # whatever the user's code raises belongs to this task, and is raised there
            return Work(task, _raising(error))

    def __iter__(self) -> Iterator[Work]:
        """Yield work until the master lets the worker go."""
        while (work := self._ready.get()) is not None:
            yield work
