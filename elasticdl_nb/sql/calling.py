"""`elasticdl_nb.sql(…)`: statements run by a call."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from elasticdl_nb.job.display import ProgressChoice, TerminalDisplay
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
    """Run SQL statements in order, and return the last one's result.

    Args:
        text: One or more statements, with TRAIN, PREDICT, EVALUATE and EXPLAIN. See docs/sql.md.
        connect: The database: a DuckDB file, a URL such as postgresql://user@host/name, an open DuckDB connection or a
            SQLAlchemy engine. By default DuckDB in memory, one for all calls of this process.
        store: Where trained models are kept: a directory or fsspec URL. By default one of this user's.
        params: Values for `:name` in the statements.
        namespace: Where TRAIN looks for model classes that are not pre-built; by default the main program or notebook.
        wait: Return when a last TRAIN has ended; otherwise as soon as its job runs, which is the result's `job`. By
            default waits, except in a live notebook. What follows a TRAIN always waits for it.
        progress: Show on stderr how jobs go: True, False, or by default if that is a terminal; or a function that
            gets every JobStatus.

    Raises:
        SqlError: for what is wrong with a statement, before it has changed anything; those before it have happened.
        OptionError: for a database or store that cannot be used, and for text without a statement.
        JobFailed, JobCancelled: for a job that ends otherwise.
    """
    wait, display = waits(wait), TerminalDisplay(progress)
    names = vars(sys.modules["__main__"]) if namespace is None else namespace
    with _session(connect, store, names) as session:
        results = session.run(text, params=params, wait=wait, on_job=lambda job: display.show(job, wait=wait))
    if not results:
        raise OptionError("text", "holds no statement")
    return results[-1]


@contextlib.contextmanager
def _session(connect: Any, store: str | None, namespace: Mapping[str, Any]) -> Iterator[Session]:
    in_memory = _in_memory().cursor() if connect is None else None
    with Session(connect if in_memory is None else in_memory, store, namespace=namespace) as session:
        yield session
    if in_memory is not None:
        in_memory.close()


@functools.cache
def _in_memory() -> Any:
    """The database of all calls that name none."""
    try:
        import duckdb
    except ImportError:
        raise OptionError("connect", "duckdb is not installed; pip install 'elasticdl_nb[sql]' brings it") from None
    return duckdb.connect(":memory:")
