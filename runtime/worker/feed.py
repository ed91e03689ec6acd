"""From tasks to batches, read ahead, so that the next task's records are parsed while the current one computes."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import keras
import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.data.reader import Reader
from elasticdl_nb.runtime.data.tasks import Range
from elasticdl_nb.runtime.data.tensors import record_dataset
from elasticdl_nb.runtime.protocol import master_pb2 as pb

T = TypeVar("T")
Batch = Any
"""What the model's data function returns: (features, labels), or features alone for prediction."""

READ_AHEAD = 8
"""Batches made before they are needed."""

_FOREVER = 1 << 62

_Announced = tuple[int, list[Range]]
"""A task's number, which sets the order of its records so that every worker reads it alike, and its ranges."""


class BatchSource(Protocol):
    """Makes batches of one kind of task."""

    element_spec: Any

    def announce(self, task: pb.Task) -> None:
        """Begin to read a task, whose batches are taken after those of the tasks announced before it."""
        ...

    def batches(self) -> Iterator[Batch]:
        """Return the batches of the earliest announced task whose batches have not been taken yet.

        Errors in reading them are raised here and do not affect the tasks after it.
        """
        ...


class StreamSource:
    """One endless dataset that runs through task after task.

    Beginning an iteration over a dataset costs TensorFlow 15 ms, and more for each function in it: as much as parsing
    thousands of records. Another task inside a running iteration costs next to nothing. `make(chunks, number)` (an
    int64 scalar, the task's own) returns the dataset of one task's batches; it is called once, to be traced. Records
    that are bytes come in chunks of `at_once`, if that is given.
    """

    def __init__(
        self, reader: Reader, make: Callable[[tf.data.Dataset, tf.Tensor], tf.data.Dataset],
        at_once: int | None = None,
    ) -> None:  # fmt: skip
        self.element_spec: Any = None
        self._announced: deque[_Announced] = deque()
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[_Announced | None] | None = queue.SimpleQueue()
        self._ranges: list[Range] = []
        self._iterator: Iterator[Any] | None = None

        def task(_: tf.Tensor) -> tf.data.Dataset:
            number = tf.ensure_shape(tf.numpy_function(self._next_task, [], tf.int64), [])
            batches = make(record_dataset(reader, lambda: self._ranges, at_once), number)
            self.element_spec = spec = batches.element_spec
            some = batches.map(
                lambda *parts: tf.experimental.Optional.from_value(parts if isinstance(spec, tuple) else parts[0])
            )
            return some.concatenate(tf.data.Dataset.from_tensors(tf.experimental.Optional.empty(spec)))

        self._dataset = tf.data.Dataset.range(_FOREVER).flat_map(task).prefetch(READ_AHEAD)

    def _next_task(self) -> np.int64:
        """Move on to the next task; return its number."""
        announced = self._queue.get() if self._queue else None
        if announced is None:
            raise RuntimeError("this iteration has been given up")
        number, self._ranges = announced
        return np.int64(number)

    def announce(self, task: pb.Task) -> None:
        """See `BatchSource`."""
        announced = (task.epoch << 32) + task.index, _ranges(task)
        with self._lock:
            self._announced.append(announced)
            assert self._queue is not None
            self._queue.put(announced)

    def batches(self) -> StreamBatches:
        """See `BatchSource`."""
        return StreamBatches(self)

    def iterator(self) -> Any:
        """Return the running iteration, whose next elements are optionals with the batches of the earliest task."""
        if self._iterator is None:
            self._iterator = iter(self._dataset)
        return self._iterator

    def task_ends(self, *, complete: bool) -> None:
        """The earliest task is over: its last batch was taken, or the rest of its batches will not be."""
        if complete:
            self._announced.popleft()
        else:
            self._begin_anew()

    def _begin_anew(self) -> None:
        """Abandon the iteration in the middle of a task, and begin another with the task after it."""
        with self._lock:
            given_up, self._queue = self._queue, None
            assert given_up is not None
            given_up.put(None)
            self._iterator = None  # returns when the threads behind it have ended
            self._announced.popleft()
            self._queue = queue.SimpleQueue()
            for announced in self._announced:
                self._queue.put(announced)

    def close(self) -> None:
        """Let the threads that wait for another task end."""
        with self._lock:
            given_up, self._queue = self._queue, None
            if given_up is not None:
                given_up.put(None)
            self._iterator = None


class StreamBatches:
    """The batches of the earliest task of a `StreamSource`, one by one, or for a graph that takes several."""

    def __init__(self, source: StreamSource) -> None:
        self._source, self._spec = source, source.element_spec
        self._pending: Any = None
        self._last: Any = None
        self._is_over = False

    def __iter__(self) -> StreamBatches:
        return self

    def __next__(self) -> Batch:
        if not self.go_on():
            raise StopIteration
        try:
            batch = _value(self._pending, self._spec)
        except BaseException:
            self.close()
            raise
        self._last, self._pending = self._pending, None
        return batch

    def put_back(self) -> None:
        """The batch that was taken last comes next again."""
        self._pending = self._last

    def go_on(self) -> bool:
        """Whether there is another batch; waits for it."""
        if self._is_over:
            return False
        try:
            if self._pending is None:
                self._pending = next(self._source.iterator())
            there = bool(self._pending.has_value())
        except BaseException:
            self.close()
            raise
        if not there:
            self._end(complete=True)
        return there

    def peek(self) -> Batch:
        """Return the next batch, after `go_on`, without taking it."""
        return _value(self._pending, self._spec)

    def taken_by(self, graph: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, T]]) -> T:
        """Let a graph take batches, after `go_on`; return what else it returns.

        It is called with the iteration's resource, whose elements are optionals, and the optional with the next batch.
        It returns first the optional with the batch that comes after those it took.
        """
        assert self._pending is not None
        try:
            after, result = graph(self._source.iterator()._iterator_resource, self._pending._variant_tensor)
        except BaseException:
            self.close()
            raise
        self._last, self._pending = None, _optional(after, self._spec)
        return result

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Drop the batches that were not taken, not even the first maybe, so that those of the next task come next."""
        if not self._is_over:
            self._end(complete=False)

    def _end(self, *, complete: bool) -> None:
        self._is_over, self._pending, self._last = True, None, None
        self._source.task_ends(complete=complete)


def with_first(first: Batch, batches: Iterator[Batch]) -> Iterator[Batch]:
    """Return the batches with the one that was just taken."""
    if isinstance(batches, StreamBatches):
        batches.put_back()
        return batches
    return _chain(first, batches)


class TaskSource:
    """A dataset that is iterated once for each task: for a dataset_fn, whose code may not work when traced."""

    def __init__(
        self, reader: Reader, make: Callable[[tf.data.Dataset], tf.data.Dataset], at_once: int | None = None
    ) -> None:
        self._ranges: list[Range] = []
        self._dataset = make(record_dataset(reader, lambda: self._ranges, at_once))
        self._started: deque[Iterator[Batch]] = deque()
        self.element_spec = self._dataset.element_spec

    def announce(self, task: pb.Task) -> None:
        """See `BatchSource`. The first batch is read at once, in the caller's thread."""
        self._ranges = _ranges(task)
        try:
            iterator = iter(self._dataset)
            first = next(iterator, None)
        except Exception as error:  # belongs to this task, and is raised where its batches are taken
            self._started.append(_raising(error))
        else:
            self._started.append(iter(()) if first is None else _chain(first, iterator))

    def batches(self) -> Iterator[Batch]:
        """See `BatchSource`."""
        return self._started.popleft()


def is_plain(element_spec: Any) -> bool:
    """Whether batches of this form are tensors of known rank, neither ragged nor sparse."""
    specs = tf.nest.flatten(element_spec)
    return bool(specs) and all(type(one) is tf.TensorSpec and one.shape.rank is not None for one in specs)


def _optional(tensor: tf.Tensor, spec: Any) -> Any:
    """The optional that a tensor holds."""
    return tf.OptionalSpec(spec)._from_components([tensor])


def _value(optional: Any, spec: Any) -> Batch:
    """What `optional.get_value()` returns, in a third of its time for plain tensors."""
    if not is_plain(spec):
        return optional.get_value()
    flat = tf.nest.flatten(spec)
    tensors = tf.raw_ops.OptionalGetValue(
        optional=optional._variant_tensor, output_types=[one.dtype for one in flat],
        output_shapes=[one.shape for one in flat],
    )  # fmt: skip
    return tf.nest.pack_sequence_as(spec, tensors)


def _ranges(task: pb.Task) -> list[Range]:
    return [(span.path, span.start, span.end) for span in task.ranges]


def _chain(first: Batch, rest: Iterator[Batch]) -> Iterator[Batch]:
    yield first
    yield from rest


def _raising(error: Exception) -> Iterator[Batch]:
    raise error
    yield


@dataclass
class Work:
    """A task and its batches; errors in reading them are raised when the batches are taken."""

    task: pb.Task
    batches: Iterator[Batch] = field(default_factory=lambda: iter(()))

    def close(self) -> None:
        """Drop the batches that were not taken, so that those of the next task come next."""
        if isinstance(self.batches, (Generator, StreamBatches)):
            with contextlib.suppress(Exception):  # errors in reading them no longer matter
                self.batches.close()


class Feed:
    """Iterates over the work the master sends, one task read ahead of the one in use.

    `source(task)` returns the BatchSource for a task's kind; it is not called for tasks without records. `idle(ready)`
    is called in the iterating thread whenever another task is wanted; it may do other things until `ready()`, which
    says that there is one. `wake()` is called in another thread when it has been opened.
    """

    def __init__(
        self, tasks: queue.Queue[pb.Task | None], source: Callable[[pb.Task], BatchSource],
        idle: Callable[[Callable[[], bool]], None] = lambda ready: None, wake: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._tasks = tasks
        self._source = source
        self._idle, self._wake = idle, wake
        self._ready: queue.Queue[tuple[pb.Task, BatchSource | Exception | None] | None] = queue.Queue(maxsize=1)
        self._policy = keras.config.dtype_policy()
        threading.Thread(target=self._run, name="feed", daemon=True).start()

    def _run(self) -> None:
        keras.config.set_dtype_policy(self._policy)  # Keras keeps one for each thread
        while (task := self._tasks.get()) is not None:
            self._ready.put((task, self._announced(task)))
            self._tasks.task_done()
            self._wake()
        self._ready.put(None)
        self._wake()

    def _announced(self, task: pb.Task) -> BatchSource | Exception | None:
        if not task.ranges:
            return None
        try:
            source = self._source(task)
            source.announce(task)
        except Exception as error:  # whatever the user's code raises belongs to this task
            return error
        return source

    def __iter__(self) -> Iterator[Work]:
        """Yield work until the master lets the worker go."""
        while (ready := self._next()) is not None:
            task, source = ready
            if isinstance(source, Exception):
                yield Work(task, _raising(source))
            else:
                yield Work(task, source.batches()) if source else Work(task)

    def _next(self) -> tuple[pb.Task, BatchSource | Exception | None] | None:
        # Also for a task that is still being opened: it is this worker's next work.
        self._idle(lambda: bool(self._tasks.unfinished_tasks) or not self._ready.empty())
        return self._ready.get()
