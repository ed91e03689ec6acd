"""Records as a `tf.data.Dataset`: the only module here that imports TensorFlow.

The dataset is made once and iterated once per task, so an iteration has to begin quickly. Most of that time goes into
the functions that a dataset consists of. This one has a single function, a `scan` whose state is the number of the
current iteration; `Dataset.from_generator` has four and takes about three times as long to begin.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from numpy.typing import NDArray

from elasticdl_nb.runtime.data import columntypes
from elasticdl_nb.runtime.data.chunks import Chunk, Records
from elasticdl_nb.runtime.data.following import FollowingReader
from elasticdl_nb.runtime.data.reader import BytesReader, Reader
from elasticdl_nb.runtime.data.tasks import Range

NextRanges = Callable[[], Sequence[Range]]
Objects = NDArray[np.object_]

_MOST_ITERATIONS = 64
_AHEAD = 2
_FOREVER = 1 << 62
_MARK = "elasticdl_nb error #"
_numbers = itertools.count()
_errors: OrderedDict[int, BaseException] = OrderedDict()


def record_dataset(reader: Reader, next_ranges: NextRanges, at_once: int | None = None) -> tf.data.Dataset:
    """Return a dataset of which each iteration calls `next_ranges` once and yields those records, many at a time.

    With `at_once`, records that are bytes come by so many, but for the last ones of an iteration. `rebatch` would do
    the same, and copy them.

    Elements: tf.string [n] for bytes, tf.string [n, columns] for strings, {name: tensor [n, …]} for columns. Several
    iterations may run at once, in any threads. An exception from the reader or `next_ranges` reaches the consumer as a
    TensorFlow error; `original_error` recovers it.
    """
    spec = _spec(reader)
    flat = tf.nest.flatten(spec)
    iterations = _Iterations(reader, next_ranges, at_once)

    def step(state: Any, position: Any) -> Any:
        state, *tensors = tf.numpy_function(iterations.step, [state], [tf.int64, *(item.dtype for item in flat)])
        tensors = [tf.ensure_shape(tensor, item.shape) for tensor, item in zip(tensors, flat, strict=True)]
        return tf.ensure_shape(state, []), *tensors

    number = tf.TensorSpec([], tf.int64)
    function = tf.function(step, input_signature=[number, number], autograph=False).get_concrete_function()
    # The raw operation, because with `Dataset.scan` the function cannot end the iteration.
    variant = tf.raw_ops.ScanDataset(
        input_dataset=tf.data.experimental.to_variant(tf.data.Dataset.range(_FOREVER)),
        initial_state=[tf.constant(-1, tf.int64)],
        other_arguments=[],
        f=function,
        output_types=[item.dtype for item in flat],
        output_shapes=[item.shape for item in flat],
        preserve_cardinality=False,
    )
    dataset = tf.data.experimental.from_variant(variant, spec)
    dataset._elasticdl_function = function  # lives as long as the dataset, which refers to it by name only
    return dataset


def original_error(error: BaseException) -> BaseException:
    """Return the exception of a record dataset's reader, if `error` is TensorFlow's report of it, or `error` itself."""
    found = re.search(_MARK + r"(\d+)", str(error))
    return _errors.get(int(found[1]), error) if found else error


def _spec(reader: Reader) -> Any:
    if reader.form == "bytes":
        return tf.TensorSpec([None], tf.string)
    metadata = reader.metadata
    if reader.form == "strings":
        return tf.TensorSpec([None, len(metadata.column_names)], tf.string)
    return {
        name: tf.TensorSpec([None, *metadata.column_shapes.get(name, ())], tf.as_dtype(dtype))
        for name, dtype in metadata.column_dtypes.items()
    }


class _Iterations:
    """The iterations under way, by number."""

    def __init__(self, reader: Reader, next_ranges: NextRanges, at_once: int | None) -> None:
        self._reader, self._at_once = reader, at_once
        self._next_ranges = next_ranges
        self._lock = threading.Lock()
        self._open: OrderedDict[int, Iterator[list[Any]]] = OrderedDict()
        self._failed: dict[int, str] = {}
        # Reading and unpacking a chunk mostly runs without Python's lock: it overlaps with that of the next one, and
        # with the use of the last one.
        self._pool = ThreadPoolExecutor(2, "records")

    def step(self, number: Any) -> list[Any]:
        """Return the iteration's number and its next arrays; -1 begins one. StopIteration ends it."""
        number = int(number)
        try:
            if number < 0:
                number = self._begin()
            elif number not in self._open:  # TensorFlow may ask again after the end, and after an error
                if number in self._failed:
                    raise RuntimeError(self._failed[number])
                raise StopIteration
            return [np.int64(number), *next(self._open[number])]
        except StopIteration:
            self._open.pop(number, None)
            raise
        except BaseException as error:
            self._open.pop(number, None)
            if number not in self._failed:  # TensorFlow asks again and again
                self._failed[number] = f"{error} [{_MARK}{_remember(error)}]"
            raise RuntimeError(self._failed[number]) from error

    def _begin(self) -> int:
        ranges = self._next_ranges()
        number = next(_numbers)
        with self._lock:
            self._open[number] = self._read(ranges)
            # Nothing tells when a consumer abandons an iteration, so those unused for long are dropped.
            while len(self._open) > _MOST_ITERATIONS:
                oldest, _ = self._open.popitem(last=False)
                self._failed[oldest] = f"an iteration was left unused while {_MOST_ITERATIONS} others began"
        return number

    def _read(self, ranges: Sequence[Range]) -> Iterator[list[Any]]:
        reader = self._reader
        if isinstance(reader, BytesReader) or (isinstance(reader, FollowingReader) and reader.form == "bytes"):
            arrays = self._several_ahead(_pieces(reader, ranges))
            return ([array] for array in (_by(self._at_once, arrays) if self._at_once else arrays))
        return self._one_ahead(chunk for path, start, end in ranges for chunk in reader.read(path, start, end))

    def _several_ahead(self, pieces: Iterator[Callable[[], Records]]) -> Iterator[Objects]:
        ahead: deque[Future[Records]] = deque()
        for piece in pieces:
            ahead.append(self._pool.submit(piece))
            if len(ahead) > _AHEAD:
                yield ahead.popleft().result().to_numpy()
        while ahead:
            yield ahead.popleft().result().to_numpy()

    def _one_ahead(self, chunks: Iterator[Chunk]) -> Iterator[list[Any]]:
        ahead = self._pool.submit(next, chunks, None)
        while (chunk := ahead.result()) is not None:
            ahead = self._pool.submit(next, chunks, None)
            yield _arrays(self._reader.form, chunk)


def _pieces(reader: BytesReader | FollowingReader, ranges: Sequence[Range]) -> Iterator[Callable[[], Records]]:
    try:
        for path, start, end in ranges:
            yield from reader.pieces(path, start, end)
    except Exception as problem:  # reported when its turn has come, after the records before it
        error = problem

        def fail() -> Records:
            raise error

        yield fail


def _by(size: int, arrays: Iterator[Objects]) -> Iterator[Objects]:
    """Yield the values of arrays by so many; only references to them are copied."""
    kept: list[Objects] = []
    count = 0
    for array in arrays:
        while count + len(array) >= size:
            kept.append(array[: size - count])
            array = array[size - count :]
            yield kept[0] if len(kept) == 1 else np.concatenate(kept)
            kept, count = [], 0
        if len(array):
            kept.append(array)
            count += len(array)
    if kept:
        yield np.concatenate(kept)


def _remember(error: BaseException) -> int:
    number = next(_numbers)
    _errors[number] = error
    while len(_errors) > _MOST_ITERATIONS:
        _errors.popitem(last=False)
    return number


def _arrays(form: str, chunk: Chunk) -> list[Any]:
    if isinstance(chunk, Records):
        return [chunk.to_numpy()]
    if form == "strings":
        return [_stacked(chunk)]
    # In the order in which TensorFlow flattens dicts. Copies, as TensorFlow takes the memory over and may write to it
    # (x - y into that of x), but the chunk's belongs to the reader, which keeps it for the next task.
    return [np.array(columntypes.to_numpy(chunk.column(name))) for name in sorted(chunk.schema.names)]


def _stacked(batch: pa.RecordBatch) -> Any:
    texts = np.empty((batch.num_rows, batch.num_columns), object)
    for n, column in enumerate(batch.columns):
        texts[:, n] = columntypes.to_numpy(column)
    return texts
