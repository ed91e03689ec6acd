"""One look at the database after another: what is safe is pulled, what cannot be used is told, used files go."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.master.decisions.fed import Fed, FedFile
from elasticdl_nb.runtime.storage import checkpoints
from elasticdl_nb.runtime.storage.checkpoints import QUEUE
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.storage.pauses import pause_after
from elasticdl_nb.runtime.storage.usedfiles import KEY, Used
from elasticdl_nb.sql import engines
from elasticdl_nb.sql.engines import Engine
from elasticdl_nb.sql.engines.duck import DuckEngine
from elasticdl_nb.sql.following.bounds import Bounds
from elasticdl_nb.sql.following.pulled import Pulled, pulled_in
from elasticdl_nb.sql.following.pulling import Puller
from elasticdl_nb.sql.following.settings import Settings
from elasticdl_nb.sql.language.errors import SqlError

MOST_WAITING = 4_000_000
"""How many records may wait to be used before no more are pulled."""

_LEAST_PAUSE, _SHARE = 2.0, 5
_CHECK_SECONDS, _CHECK_SHARE = 600.0, 20
_DUCKDB = "duckdb:///"


@contextlib.contextmanager
def opened(url: str) -> Iterator[Engine]:
    """Open a database for one look. A DuckDB file is opened for reading, so that several processes can do it."""
    if url.startswith(_DUCKDB):
        try:
            connection = duckdb.connect(url.removeprefix(_DUCKDB), read_only=True)
        except duckdb.Error as error:
            raise SqlError(f"DuckDB: {str(error).splitlines()[0]}") from None
        with connection:
            yield DuckEngine(connection, url=url)
        return
    engine = engines.connect(url)
    try:
        yield engine
    finally:
        engine.close()


class Rounds:
    """Looks at the database of a job, and `tell`s users (level, text) what they should know."""

    def __init__(self, settings: Settings, folder: JobFolder, tell: Callable[[str, str], None]) -> None:
        self._settings, self._folder, self._tell = settings, folder, tell
        self._directory = Path(folder.spec().data[0])
        self._puller = Puller(settings, self._directory)
        self._bounds = Bounds(settings.delay)
        self._stop_at: float | None = None
        self._took = self._check_at = 0.0
        self._failures = 0
        self._gone = 0
        self._told: Counter[str] = Counter()
        self._coming = self._highest = self._times = ""

    # ------------------------------------------------------------ a look

    def run(self, clock: Callable[[], float], *, stop: bool, waiting: Callable[[], int]) -> bool:
        """Look once; return whether all rows that were there when the job was told to stop have been pulled."""
        begun = clock()
        with opened(self._settings.connect) as engine:
            self._look(engine, begun, stop=stop)
            safe = self._bounds.safe(clock())
            if safe and safe[1] and (stop or waiting() <= MOST_WAITING // 2):
                already = self._puller.reached().read

                def enough() -> bool:
                    self._write_times()
                    return not stop and waiting() + self._puller.reached().read - already > MOST_WAITING

                self._puller.pull(engine, safe[1], enough)
                self._coming = "" if self._puller.reached().high == self._highest else self._coming
                self._write_times()
            done = safe is not None and self._stop_at is not None and safe[0] >= self._stop_at
            if done or clock() >= self._check_at:
                checking = clock()
                self._check(engine)
                self._check_at = clock() + max(_CHECK_SECONDS, _CHECK_SHARE * (clock() - checking))
            if done and self._settings.watermark.is_coarse:
                self._tell_of_last_day(self._between(engine)[1])
        self._tell_left_out()
        if self._failures:
            self._failures = 0
            self._tell("info", "the database can be read again")
        self._took = clock() - begun
        return done

    def _look(self, engine: Engine, now: float, *, stop: bool) -> None:
        stops = stop and self._stop_at is None
        self._coming, self._highest = self._between(engine)
        self._bounds.saw(self._highest, now, surely=stops)
        self._write_times()
        if stops:
            self._stop_at = now

    def _between(self, engine: Engine) -> tuple[str, str]:
        return self._settings.watermark.between(engine, self._settings.query, self._puller.reached().high)

    def _write_times(self) -> None:
        """Write for the master how far the files are in time, and what is to come, if the watermark is a time."""
        mark = self._settings.watermark
        if mark.form == "integer":
            return
        files = [
            FedFile(one.name, one.records, mark.moment(one.low), mark.moment(one.high))
            for one in pulled_in(self._directory)
        ]
        files += [FedFile("", 1, mark.moment(self._coming), None)] if self._coming else []
        times = Fed(files).to_json()
        if times != self._times:
            durable.write(self._folder.fed, times.encode())
            self._times = times

    def failed(self, error: Exception, *, stop: bool) -> bool:
        """Tell, once, that the database cannot be read; return whether that is the end, as the job is to end."""
        self._failures += 1
        if stop:
            self._tell("warning", f"the last rows could not be read, and are left to a later job: {error}")
            return True
        if self._failures == 1:
            self._tell("warning", f"the database cannot be read, and is tried again from time to time: {error}")
        return False

    def pause(self, now: float) -> float:
        """Return how many seconds to wait before the next look."""
        if self._failures:
            return min(pause_after(self._failures), 60.0)
        if self._stop_at is not None:
            return max(0.1, self._stop_at + self._settings.delay - now)
        return max(_LEAST_PAUSE, self._settings.delay / 2, _SHARE * self._took)

    # ------------------------------------------------------------ what cannot be used

    def _check(self, engine: Engine) -> None:
        """Look for rows that no pull will ever see: those without a watermark, and those that came too late."""
        reached = self._puller.reached()
        unknown, there = self._settings.watermark.count(engine, self._settings.query, reached.high)
        column = self._settings.watermark.column
        self._tell_more(unknown, f"rows have no {column!r} that can be compared, and are not used until they have one")
        expected = reached.read - self._gone
        if there < expected:  # rows that were read have been changed or deleted since
            self._gone += expected - there
        late = there - expected
        self._tell_more(
            late, f"rows were committed too late: their {column!r} is not above what had been read by then, so that "
            "they are not used; a larger train.follow_delay waits longer for them",
        )  # fmt: skip

    def _tell_left_out(self) -> None:
        for why, count in self._puller.left_out.items():
            self._tell_more(count, f"new rows {why} were left out")

    def _tell_more(self, count: int, what: str) -> None:
        """Tell of a number the first time, and when it has doubled."""
        if count and count >= 2 * self._told[what]:
            self._told[what] = count
            self._tell("warning", f"{count:,} {what}")

    def _tell_of_last_day(self, day: str) -> None:
        if day:
            self._tell("info", f"the rows of {day} are left to a later job: a day is complete when the next begins")

    # ------------------------------------------------------------ used files

    def tidy(self) -> None:
        """Delete files that the oldest checkpoint that the job may go back to has used, but for the last of them."""
        spec = self._folder.spec()
        saved = checkpoints.completed(spec.checkpoint_dir or self._folder.checkpoints)
        with contextlib.suppress(OSError, DataError, KeyError, ValueError):  # it is being removed
            own = [path for path in saved if checkpoints.Manifest.read(path).job == self._folder.identity]
            if not own:
                return
            used = Used.from_json(json.loads((own[0] / QUEUE).read_text())[KEY])
            files = [one for one in pulled_in(self._directory) if not one.records or used.is_whole(self._path_of(one))]
            for one in files[:-1]:  # the last says how far the job is
                os.unlink(self._path_of(one))

    def _path_of(self, one: Pulled) -> str:
        return str(self._directory / one.name)
