"""Finding the files that appear in a directory or glob while a job trains; only the master looks."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from elasticdl_nb.runtime.data import files
from elasticdl_nb.runtime.data.chunks import FileRecords
from elasticdl_nb.runtime.data.files import Stamp
from elasticdl_nb.runtime.data.following import Appeared, FollowingReader
from elasticdl_nb.runtime.data.listing import Listing
from elasticdl_nb.runtime.errors import DataError, ElasticDLError

logger = logging.getLogger(__name__)


_UNCHANGED = 2.0
"""Seconds in which a file must not have changed to be complete."""

_SECONDS, _SECONDS_LOCAL = 2.0, 0.5
"""Between two looks, at least; and if all is on this machine."""

_SHARE = 5
"""How many times as long as a look a pause is, at least."""


class _Refused(NamedTuple):
    """A file that could not be used: how often in a row, with this stamp, and when to try it again."""

    stamp: Stamp | None
    failures: int
    again: float


class Discovery:
    """Finds the files that have appeared since the job began.

    `expand` lists what one of `paths` stands for now; files in `known` are not new. A file of this machine is taken
    when looks have found it unchanged for two seconds, so one that is still being written waits, and so does one
    without records. One that cannot be used, and one that has changed since it was listed, is a problem, which is
    reported once. If the reason may pass, the file is tried again after `pause` seconds, given the number of failures;
    `clock` is in seconds.
    """

    def __init__(
        self, reader: FollowingReader, paths: Sequence[str], expand: Callable[[str], Sequence[str]],
        known: Mapping[str, Stamp | None], appeared: Appeared, pause: Callable[[int], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._reader, self._paths, self._expand, self._known = reader, paths, expand, known
        self._pause, self._clock = pause, clock
        self._appeared = appeared
        self._appeared.read()
        self._seen: dict[str, tuple[Stamp | None, float]] = {}
        self._is_hurried = False
        self._refused: dict[str, _Refused] = {}
        self._changed: Listing = {}
        self._problems: list[str] = []
        self._told: dict[str, str] = {}
        self.waits = False
        """Whether the last look has found a file that may still be being written, or could not be listed."""

    def pause_after_look(self, seconds: float) -> float:
        """Return how many seconds to wait after a look that took so many; in a hurry, the next one finds what waits."""
        local = all(files.is_local(files.plain(path)) for path in self._paths)
        usual = _SECONDS_LOCAL if local else _SECONDS
        return max(_UNCHANGED if self._is_hurried and self.waits else usual, _SHARE * seconds)

    def listed_since(self, number: int) -> list[FileRecords]:
        """Return the files that have appeared, without the first `number`."""
        return self._appeared.records[number:]

    def problems(self) -> list[str]:
        """Return what was wrong with files since the last call."""
        problems, self._problems = self._problems, []
        return problems

    def look(self, *, hurry: bool = False, ahead: int = 0) -> list[FileRecords]:
        """Look once; return the new files, which are in the list now. In a `hurry`, try all that is there.

        `ahead` tasks are waiting to be done, which makes no difference here.
        """
        now, self._is_hurried = self._clock(), hurry
        stamps = self._stamps(self._listed())
        before, self._seen = self._seen, {}
        for path, stamp in stamps.items():
            last = before.get(path)
            self._seen[path] = last if last is not None and last[0] == stamp else (stamp, now)
        ready = [path for path, (stamp, since) in self._seen.items() if stamp is None or now - since >= _UNCHANGED]
        self.waits = len(ready) < len(stamps)
        found = [one for path in ready if (one := self._taken(path, stamps[path], hurry)) is not None]
        if not found:
            return []
        try:
            self._appeared.add([(one, stamps[one.path]) for one in found])
        except OSError as error:  # a full disk, say: they are still new at the next look
            self._report("", error, "new files could not be listed, and are used once they can be: ")
            self.waits = True
            return []
        self._told.pop("", None)
        return found

    def _listed(self) -> list[str]:
        """Return the files that are there now; of a path that cannot be listed, report why."""
        found: list[str] = []
        for path in self._paths:
            try:
                found += self._expand(path)
            except Exception as error:  # nothing there, for now, or a store that does not answer
                self._report(path, error)
            else:
                self._told.pop(path, None)
        return found

    def _stamps(self, paths: Sequence[str]) -> Listing:
        """Return the stamps of new files; report those of others that have changed."""
        new: Listing = {}
        for path in paths:
            try:
                stamp = files.stamp_of(path)
            except DataError:  # it was deleted since it was listed
                continue
            listed = self._known.get(path, self._appeared.stamps.get(path))
            if path not in self._known and path not in self._appeared.stamps:
                new[path] = stamp
            elif listed is not None and stamp not in (listed, self._changed.get(path)):
                self._changed[path] = stamp
                self._problems.append(
                    f"{path} was changed after its records were listed: what was added to it is not used; write new "
                    "records to new files"
                )
        return new

    def _taken(self, path: str, stamp: Stamp | None, hurry: bool) -> FileRecords | None:
        refused = self._refused.get(path)
        failures = refused.failures if refused and refused.stamp == stamp else 0
        if refused and failures and not hurry and self._clock() < refused.again:
            return None
        try:
            found = self._reader.counted(path, stamp)
        except Exception as error:  # damage surfaces as whatever the format's library raises
            passes = stamp is None or isinstance(error, OSError) or isinstance(error.__cause__, OSError)
            again = self._clock() + self._pause(failures + 1) if passes else math.inf
            self._refused[path] = _Refused(stamp, failures + 1, again)
            self._report(path, error, f"a new file is not used {'yet' if passes else 'unless it changes'}: ")
            return None
        self._refused.pop(path, None)
        self._told.pop(path, None)
        return found if found.records else None

    def _report(self, path: str, error: Exception, what: str = "") -> None:
        """Report a problem, unless it is the last that was reported of this path."""
        expected = isinstance(error, ElasticDLError)
        where = f"{path}: " if path else ""
        problem = what + (str(error) if expected else f"{where}{type(error).__name__}: {error}")
        if self._told.get(path) != problem:
            self._told[path] = problem
            self._problems.append(problem)
            if not expected:
                logger.warning("%s", problem, exc_info=error)
