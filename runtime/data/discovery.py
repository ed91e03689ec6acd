"""Finding the files that appear in a directory or glob while a job trains; only the master looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from elasticdl_nb.runtime.data import files
from elasticdl_nb.runtime.data.chunks import FileRecords
from elasticdl_nb.runtime.data.files import Stamp
from elasticdl_nb.runtime.data.following import Appeared, FollowingReader
from elasticdl_nb.runtime.data.listing import Listing
from elasticdl_nb.runtime.errors import DataError, OptionError


class Discovery:
    """Finds the files that have appeared since the job began.

    `expand` lists what is there now; files in `known` are not new. A file of this machine is taken when two looks have
    found it unchanged, so one that is still being written waits, and so does one without records. One that cannot be
    used, and one that has changed since it was listed, is a problem, which is reported once.
    """

    def __init__(
        self, reader: FollowingReader, expand: Callable[[], Sequence[str]], known: Mapping[str, Stamp | None],
        appeared: Appeared,
    ) -> None:  # fmt: skip
        self._reader, self._expand, self._known = reader, expand, known
        self._appeared = appeared
        self._appeared.read()
        self._seen: Listing = {}
        self._refused: Listing = {}
        self._changed: Listing = {}
        self._problems: list[str] = []
        self._last_problem = ""
        self.waits = False
        """Whether the last look has found a file that may still be being written."""

    def listed_since(self, number: int) -> list[FileRecords]:
        """Return the files that have appeared, without the first `number`."""
        return self._appeared.records[number:]

    def problems(self) -> list[str]:
        """Return what was wrong with files since the last call."""
        problems, self._problems = self._problems, []
        return problems

    def look(self) -> list[FileRecords]:
        """Look once; return the new files, which are in the list now."""
        try:
            stamps = self._stamps(self._expand())
        except OptionError as error:  # nothing there, for now, or a store that does not answer
            self._report(str(error))
            return []
        before, self._seen = self._seen, stamps
        ready = [path for path, stamp in stamps.items() if stamp is None or before.get(path) == stamp]
        self.waits = len(ready) < len(stamps)
        found = [one for path in ready if (one := self._taken(path, stamps[path])) is not None]
        if found:
            self._appeared.add([(one, stamps[one.path]) for one in found])
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

    def _taken(self, path: str, stamp: Stamp | None) -> FileRecords | None:
        if path in self._refused and self._refused[path] == stamp:
            return None
        try:
            found = self._reader.counted(path, stamp)
        except (DataError, OptionError, OSError) as error:
            self._refused[path] = stamp
            self._report(f"a new file is not used unless it changes: {error}")
            return None
        return found if found.records else None

    def _report(self, problem: str) -> None:
        if problem != self._last_problem:
            self._problems.append(problem)
        self._last_problem = problem
