"""Converting data from one format to another, and files of any kind to records.

The source is cut into pieces, which worker processes turn into records or columns. This process writes them in the
order of the source, so the outcome does not depend on the number of processes.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from elasticdl_nb.runtime.data import columntypes, examples, files, preparation, shards
from elasticdl_nb.runtime.data.chunks import Records
from elasticdl_nb.runtime.data.reader import FORMATS, Reader, format_of, open_reader
from elasticdl_nb.runtime.data.shards import Piece
from elasticdl_nb.runtime.data.tasks import Range, cut
from elasticdl_nb.runtime.errors import DataError, OptionError, did_you_mean

_PIECE_RECORDS = 4096
_JOBS_PER_PROCESS = 16  # fewer are done before another process would be up
_BYTES_FORMATS = ("recordio", "tfrecord")

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ConvertResult:
    """The result of a conversion; `files` are the paths written."""

    files: list[str]
    records: int
    source_files: int
    seconds: float


def convert(
    source: str | Sequence[str],
    output: str,
    *,
    to: str = "",
    prepare: str | preparation.PrepareFunction | None = None,
    zoo: str = "",
    records_per_file: int = 0,
    num_files: int = 0,
    num_processes: int = 0,
    data_reader_params: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ConvertResult:
    """Convert files to another format.

    source: paths, globs, directories or URLs. Columns become tf.train.Example records, and vice versa. CSV is read
        with types unless `data_reader_params` has `typed=False`.
    output: a file, or a directory if `records_per_file` or `num_files` is given or the name has no known suffix; its
        files are data-00000.SUFFIX and so on. Output appears under its name only when it is complete.
    to: recordio, tfrecord, csv, parquet or arrow; by default according to the suffix of `output`, else recordio.
    prepare: makes records from a file of any kind: a function (path) -> bytes or an iterable of bytes, or its dotted
        name, or the name of a module with a `prepare_data_for_a_single_file`, in the model zoo `zoo`.
    num_processes: 0 for as many as speed it up, up to one per processor.
    progress: called with the amounts done and in total: source files with `prepare`, else records.

    Raises OptionError if an argument is wrong and DataError, which names the file, if the data is.
    """
    started = time.monotonic()
    to = _target_format(to, output)
    if records_per_file and num_files:
        raise OptionError("num_files", "given together with records_per_file; give only one of them")
    if prepare is not None and to not in _BYTES_FORMATS:
        raise OptionError("to", f"{to} has columns, but prepared records are bytes; choose recordio or tfrecord")
    if not overwrite and files.exists(output, "output"):
        raise OptionError("output", f"{output} exists; choose another, or overwrite it (overwrite=True, --overwrite)")

    plan = _plan_prepare(source, prepare, zoo) if prepare is not None else _plan_reader(source, to, data_reader_params)
    total = sum(plan.sizes)
    if num_files:
        records_per_file = -(-total // num_files) if prepare is None else 0
    pieces = _run(plan, num_processes, progress)
    pieces_per_file = -(-len(plan.jobs) // num_files) if num_files and prepare is not None else 0
    written = shards.write(
        pieces, output, to, records_per_file=records_per_file, pieces_per_file=pieces_per_file,
        single=not (records_per_file or num_files) and format_of(output) is not None,
    )  # fmt: skip
    return ConvertResult(written.files, written.records, plan.source_files, time.monotonic() - started)


def _target_format(to: str, output: str) -> str:
    if to and to not in FORMATS:
        raise OptionError("to", f"{to!r} is not one of {', '.join(FORMATS)}.{did_you_mean(to, FORMATS)}")
    return to or format_of(output) or "recordio"


# ------------------------------------------------------------------ plans: what the processes do


@dataclass(frozen=True)
class _Plan:
    """A picklable function of one argument, the arguments, and how much progress each means."""

    work: Callable[[Any], Piece]
    jobs: list[Any]
    sizes: list[int]
    source_files: int


@dataclass(frozen=True)
class _Prepare:
    function: str | preparation.PrepareFunction
    zoo: str

    def __call__(self, path: str) -> Piece:
        function = preparation.find(self.function, self.zoo) if isinstance(self.function, str) else self.function
        return preparation.call(function, path)


def _plan_prepare(source: str | Sequence[str], function: str | preparation.PrepareFunction, zoo: str) -> _Plan:
    if not isinstance(function, str) and not callable(function):
        raise OptionError("prepare", f"expected a function or its dotted name, not {function!r}")
    paths = [path for item in _list(source) for path in files.expand(item, (), "source")]
    return _Plan(_Prepare(function, zoo), paths, [1] * len(paths), len(paths))


@dataclass(frozen=True)
class _Read:
    """Reads ranges of records, as bytes or as a table, whichever the target format holds."""

    paths: tuple[str, ...]
    params: dict[str, Any]
    to_bytes: bool

    def __call__(self, ranges: list[Range]) -> Piece:
        reader = self.reader()
        chunks = [chunk for path, start, end in ranges for chunk in reader.read(path, start, end)]
        if reader.form != "bytes":
            table = pa.Table.from_batches(chunks)
            return _encode(table) if self.to_bytes else table
        records = [record for chunk in chunks if isinstance(chunk, Records) for record in chunk.to_list()]
        if self.to_bytes:
            return records
        try:
            return pa.table(examples.decode(records))
        except DataError as error:
            path, start, _ = ranges[0]
            raise DataError(f"{path}, in the records starting at {start}: {error}") from None

    def reader(self) -> Reader:
        """The reader, made once in each process because readers hold open files and locks."""
        key = pickle.dumps(self)
        if key not in _opened:
            _opened.clear()
            _opened[key] = open_reader(self.paths, self.params, "source")
        return _opened[key]


def _encode(table: pa.Table) -> list[bytes]:
    records = []
    for batch in table.combine_chunks().to_batches():
        records += examples.encode({name: columntypes.to_numpy(batch.column(name)) for name in table.column_names})
    return records


_opened: dict[bytes, Reader] = {}


def _plan_reader(source: str | Sequence[str], to: str, params: Mapping[str, Any] | None) -> _Plan:
    given = dict(params or {})
    work = _Read(tuple(_list(source)), given, to in _BYTES_FORMATS)
    if work.reader().form == "strings" and "typed" not in given:
        work = dataclasses.replace(work, params={**given, "typed": True})
    work.reader().check()
    counted = work.reader().files()
    jobs = cut(counted, _PIECE_RECORDS)
    return _Plan(work, jobs, [sum(end - start for _, start, end in job) for job in jobs], len(counted))


def _list(source: str | Sequence[str]) -> list[str]:
    return [source] if isinstance(source, str) else list(source)


# ------------------------------------------------------------------ running


def _run(plan: _Plan, num_processes: int, progress: Progress | None) -> Iterator[Piece]:
    """Yield the outcome of each job, in order."""
    total, done = sum(plan.sizes), 0
    if progress:
        progress(0, total)
    for size, piece in zip(plan.sizes, _outcomes(plan, num_processes), strict=True):
        yield piece
        done += size
        if progress:
            progress(done, total)


def _outcomes(plan: _Plan, num_processes: int) -> Iterable[Piece]:
    worthwhile = min(os.cpu_count() or 1, -(-len(plan.jobs) // _JOBS_PER_PROCESS))
    processes = min(num_processes or worthwhile, len(plan.jobs))
    if processes <= 1 or not _can_travel(plan.work):
        return map(plan.work, plan.jobs)
    return _in_processes(plan, processes)


def _can_travel(work: Callable[[Any], Piece]) -> bool:
    """Whether this can be sent to another process. A function from a notebook cell cannot, and runs here."""
    function = getattr(work, "function", None)
    if getattr(function, "__module__", "") == "__main__":
        return False
    try:
        pickle.dumps(work)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


def _in_processes(plan: _Plan, processes: int) -> Iterator[Piece]:
    # Not forked, as this process may have threads. Only a few jobs ahead of the writer, so that memory stays bounded.
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))
    waiting: deque[Future[Piece]] = deque()
    try:
        for job in plan.jobs:
            waiting.append(pool.submit(plan.work, job))
            if len(waiting) > 3 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise DataError("a process that was converting data died; it may have run out of memory") from None
    finally:
        pool.shutdown(cancel_futures=True)
