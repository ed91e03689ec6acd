"""`elasticdl_nb.sql(…)`: a function call that runs statements."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from elasticdl_nb.job import Job
from elasticdl_nb.job.display import ProgressChoice, TerminalDisplay, notebook_display, notes
from elasticdl_nb.job.starting import waits
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.sql.result import Result
from elasticdl_nb.sql.session import Session


def run(
    text: str,
    *,
    connect: Any = None,
    store: str | None = None,
    params: Mapping[str, Any] | None = None,
    namespace: Mapping[str, Any] | None = None,
    wait: bool | None = None,
    progress: ProgressChoice = None,
) -> Result:
    """Run SQL statements in order and return the last one's result.

    Args:
        text: One or more statements, with TRAIN, PREDICT, EVALUATE and EXPLAIN. See docs/sql.md.
        connect: The database: a DuckDB file, a URL such as postgresql://user@host/name, an open DuckDB connection or a
            SQLAlchemy engine. The default is DuckDB in memory, shared by all calls in this process.
        store: Where trained models are kept: a directory or fsspec URL. The default is a directory of this user.
        params: Values for `:name` in the statements.
        namespace: Where TRAIN looks for model classes that are not built in; by default the main program or notebook.
        wait: If the last statement is a TRAIN, wait until it has ended. Without waiting, the call returns as soon as
            the job runs; the result's `job` is its handle. By default the call waits, except in a live notebook.
            Statements that follow a TRAIN always wait for it.
        progress: Show the progress of jobs on stderr: True, False, or by default only on a terminal; a notebook then
            shows each job as `%%sqlflow` does. It can also be a function that gets every JobStatus.

    Raises:
        SqlError: a statement is wrong. It has changed nothing; the statements before it have taken effect.
        OptionError: the database or store cannot be used, or the text contains no statement.
        JobFailed, JobCancelled: a job failed or was cancelled.
    """
    wait, terminal = waits(wait), TerminalDisplay(progress)
    in_notebook = progress is None and notebook_display("") is not None
    names = vars(sys.modules["__main__"]) if namespace is None else namespace
    quiet = notes(print) if in_notebook else contextlib.nullcontext()
    with quiet, _session(connect, store, names) as session:
        last: Result | None = None
        told: list[str] = []

        def tell(message: str) -> None:
            told.append(message)
            terminal.tell(message)

        def show(job: Job) -> None:
            display = notebook_display(job.spec.kind) if in_notebook else None  # a picture for each job
            (display or terminal).show(job, wait=wait)

        for result in session.results(text, params=params, wait=wait, on_job=show, on_message=tell):
            last = replace(result, messages=(*told, *result.messages))
            told.clear()
    if last is None:
        raise OptionError("text", "contains no statement")
    return last


@contextlib.contextmanager
def _session(connect: Any, store: str | None, namespace: Mapping[str, Any]) -> Iterator[Session]:
    in_memory = _in_memory().cursor() if connect is None else None
    with Session(connect if in_memory is None else in_memory, store, namespace=namespace) as session:
        yield session
    if in_memory is not None:
        in_memory.close()


@functools.cache
def _in_memory() -> Any:
    """The database for all calls that do not name one."""
    try:
        import duckdb
    except ImportError:
        raise OptionError("connect", "duckdb is not installed; pip install 'elasticdl_nb[sql]'") from None
    return duckdb.connect(":memory:")
