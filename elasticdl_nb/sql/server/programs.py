"""Programs (lists of statements) that a server runs while a client listens, or in the background."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Callable

from elasticdl_nb.job import Job
from elasticdl_nb.job.terminal import PlainLines
from elasticdl_nb.runtime.errors import JobCancelled
from elasticdl_nb.runtime.protocol import master_pb2
from elasticdl_nb.sql.language.parser import parse
from elasticdl_nb.sql.protocol import sqlflow_pb2 as pb
from elasticdl_nb.sql.server.encoding import Style, end_of, message, responses
from elasticdl_nb.sql.session import Session

_WAITING = 16
"""How many lists of responses wait for a client that reads slowly."""
_FETCHED_BYTES = 2 << 20
"""Clients accept 4 MiB at once."""
_POLL_SECONDS = 0.1

OpenSession = Callable[[], Session]


class Program:
    """One program: statements that run in a thread of their own and produce responses.

    `emit` gets the responses in that thread, some at a time, and may block. Its client fetches them if `fetched` is
    true, and listens otherwise. `error` is the error that the program ended with.
    """

    def __init__(
        self, open_session: OpenSession, sql: str, emit: Callable[[list[bytes]], None], *, fetched: bool = False
    ) -> None:
        self.error: Exception | None = None
        self.ended = threading.Event()
        self._open = open_session
        self._sql = sql
        self._emit = emit
        self._fetched = fetched
        self._cancelled = threading.Event()
        self._job: Job | None = None
        self._session: Session | None = None
        self._thread = threading.Thread(target=self._run, name="sqlflow-program", daemon=True)

    def start(self) -> None:
        """Start the program, and return at once."""
        self._thread.start()

    def cancel(self, reason: str) -> None:
        """End the program, the query that it runs and the job that it is waiting for."""
        self._cancelled.set()
        session = self._session
        if session is not None and not self.ended.is_set():
            session.cancel()
        if self._job is not None and not self.ended.is_set():
            self._job.request_cancel(reason)

    def _run(self) -> None:
        try:
            with self._open() as session:
                self._session = session
                if not self._cancelled.is_set():
                    self._run_in(session)
        except Exception as error:  # any error is reported to the caller
            self.error = error
        finally:
            self._session = None
            self.ended.set()

    def _run_in(self, session: Session) -> None:
        style = Style(self._fetched, several=len(parse(self._sql, session.dialect)) > 1)
        began = time.monotonic()
        spoken = False

        def say(text: str) -> None:
            nonlocal spoken
            spoken = True
            self._give([message(text)])

        for result in session.results(self._sql, on_job=lambda job: self._follow(job, say), on_message=say):
            for some in responses(result, style, spoken=spoken):
                self._give(some)
            if style.ends:
                self._give([end_of(result.statement.text, time.monotonic() - began)])
            began, spoken = time.monotonic(), False

    def _give(self, some: list[bytes]) -> None:
        if self._cancelled.is_set():
            raise JobCancelled("no client is listening any more")
        self._emit(some)

    def _follow(self, job: Job, say: Callable[[str], None]) -> None:
        """Report the job's progress until it has ended."""
        self._job = job
        lines = PlainLines()

        def tell(status: master_pb2.JobStatus) -> None:
            for line in lines.feed(status, time.time()):
                say(line)

        try:
            job.wait(progress=tell)
        except JobCancelled:
            if self._cancelled.is_set():
                job.request_cancel("no client is listening any more")
            raise
        finally:
            self._job = None


class Listened:
    """A program whose responses are read while it runs. If the reader is slow, the program waits."""

    def __init__(self, open_session: OpenSession, sql: str) -> None:
        self._waiting: queue.Queue[list[bytes]] = queue.Queue(_WAITING)
        self._gone = threading.Event()
        self.program = Program(open_session, sql, self._put)
        self.program.start()

    def _put(self, some: list[bytes]) -> None:
        while not self._gone.is_set():
            try:
                self._waiting.put(some, timeout=_POLL_SECONDS)
                return
            except queue.Full:
                continue

    def some(self) -> list[bytes] | None:
        """Wait a moment for responses and return those that have come; None when there will be no more.

        Raises the error that the program ended with.
        """
        ended = self.program.ended.is_set()
        with contextlib.suppress(queue.Empty):
            return self._waiting.get(timeout=_POLL_SECONDS)
        if not ended:
            return []
        if self.program.error is not None:
            raise self.program.error
        return None

    def leave(self) -> None:
        """End the program, as nobody reads its responses any more."""
        self._gone.set()
        self.program.cancel("its client has left")


class Background:
    """A program that runs without a client, and keeps its responses for clients that ask."""

    def __init__(self, open_session: OpenSession, sql: str) -> None:
        self._kept: list[bytes] = []
        self.program = Program(open_session, sql, self._kept.extend, fetched=True)
        self.program.start()

    def since(self, count: int) -> tuple[list[pb.Response], bool]:
        """Return some of the responses after the first `count`, and whether those are the last.

        They end with the first end of execution, as clients ignore what comes after it in the same answer.

        Raises the error that the program ended with, once all earlier responses have been fetched.
        """
        ended = self.program.ended.is_set()
        fresh: list[pb.Response] = []
        size = 0
        for encoded in itertools.islice(self._kept, count, len(self._kept)):
            size += len(encoded)
            if fresh and size > _FETCHED_BYTES:
                break
            fresh.append(pb.Response.FromString(encoded))
            if fresh[-1].WhichOneof("response") == "eoe":
                break
        if ended and not fresh and self.program.error is not None:
            raise self.program.error
        return fresh, ended and count + len(fresh) == len(self._kept) and self.program.error is None
