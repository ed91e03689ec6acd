"""Data that grows: a directory or glob in which files appear while a job trains.

The job's first files are listed once, as those of any job. Each later one gets a line in a file beside that list, after
it was found to be complete and to have the same columns. Only the master looks and writes; workers read the lines when
they get a task of a file that they do not know.
"""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from elasticdl_nb.runtime.data import files
from elasticdl_nb.runtime.data.chunks import Chunk, FileRecords, Metadata
from elasticdl_nb.runtime.data.listing import Listing
from elasticdl_nb.runtime.data.tablereader import no_such_file
from elasticdl_nb.runtime.errors import DataError, OptionError

if TYPE_CHECKING:
    from elasticdl_nb.runtime.data.reader import Reader

_MOST_OPEN = 16
"""Later files that a process keeps open."""

Open = Callable[[Listing], "Reader"]


def appeared_in(listings: Path, option: str) -> Path:
    """Where the files that have appeared are listed, in a job's folder for such lists."""
    return listings / f"{option}.appeared"


def check_can_grow(paths: Sequence[str], option: str) -> None:
    """Raise OptionError if no file can appear in any of these paths."""
    for path in paths:
        fs, inner = files.file_system(files.plain(path), option)
        if files.is_glob(inner) or fs.isdir(inner):
            return
    raise OptionError(
        "follow", f"has an effect only if {option} is a directory or glob: files can appear in nothing else"
    )


class Appeared:
    """The files that have appeared since a job began, each with its stamp and number of records, oldest first."""

    def __init__(self, place: Path) -> None:
        self._place, self._offset = place, 0
        self.stamps: Listing = {}
        self.records: list[FileRecords] = []

    def read(self) -> None:
        """Read the lines that were added since the last call; one that is not complete yet is left for the next."""
        try:
            with open(self._place, "rb") as file:
                file.seek(self._offset)
                lines = file.read()
        except FileNotFoundError:
            return
        whole = lines[: lines.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            path, stamp, records = json.loads(line)
            self.stamps[path] = None if stamp is None else (stamp[0], stamp[1])
            self.records.append(FileRecords(path, records))

    def add(self, found: Sequence[tuple[FileRecords, files.Stamp | None]]) -> None:
        """Add lines, in place of what a process that died had only begun to write."""
        self._place.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps([one.path, stamp, one.records]) + "\n" for one, stamp in found)
        with open(self._place, "ab") as file:
            file.truncate(self._offset)
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())
        self.read()


class FollowingReader:
    """A `Reader` of the first files that also reads those that have appeared since; see reader.py for the interface."""

    def __init__(self, first: Reader, listing: Listing, place: Path, open_file: Open) -> None:
        self._first, self._listing, self._open = first, listing, open_file
        self._appeared = Appeared(place)
        self._lock = threading.Lock()
        self._readers: OrderedDict[str, Reader] = OrderedDict()

    @property
    def form(self) -> Literal["bytes", "strings", "columns"]:
        """That of the first files."""
        return self._first.form

    @property
    def metadata(self) -> Metadata:
        """The first files' columns, which all others have too."""
        return self._first.metadata

    @property
    def first_paths(self) -> list[str]:
        """The first files."""
        return list(self._listing)

    def check(self) -> None:
        """Check the first files."""
        self._first.check()

    def files(self) -> list[FileRecords]:
        """Return the first files; the master knows the others."""
        return self._first.files()

    def read(self, path: str, start: int, end: int) -> Iterator[Chunk]:
        """Read records [start, end) of a file."""
        return (self._first if path in self._listing else self._reader_of(path)).read(path, start, end)

    def _reader_of(self, path: str) -> Reader:
        with self._lock:
            if path not in self._readers:
                if path not in self._appeared.stamps:
                    self._appeared.read()
                if path not in self._appeared.stamps:
                    raise no_such_file(path)
                self._readers[path] = self._open({path: self._appeared.stamps[path]})
                while len(self._readers) > _MOST_OPEN:
                    self._readers.popitem(last=False)
            self._readers.move_to_end(path)
            return self._readers[path]

    # ------------------------------------------------------------ for the one who looks

    def opened(self, path: str, stamp: files.Stamp | None) -> FileRecords:
        """Count the records of a new file; raise DataError if it cannot be read, or lacks the first files' columns."""
        reader = self._open({path: stamp})
        (found,) = reader.files()
        if found.records and reader.metadata != self.metadata:
            raise DataError(f"{path}: {_difference(reader.metadata, self.metadata)}")
        return found


class Discovery:
    """Finds the files that have appeared since the job began.

    `expand` lists what is there now; files in `known` are not new. A file of this machine is taken when two looks have
    found it unchanged, so one that is still being written waits. One that cannot be used is a problem, reported once,
    and is tried again when it has changed.
    """

    def __init__(
        self, reader: FollowingReader, expand: Callable[[], Sequence[str]], known: Sequence[str], place: Path
    ) -> None:
        self._reader, self._expand, self._known = reader, expand, set(known)
        self._appeared = Appeared(place)
        self._appeared.read()
        self._seen: Listing = {}
        self._refused: Listing = {}
        self._problems: list[str] = []
        self._last_problem = ""

    def listed_since(self, number: int) -> list[FileRecords]:
        """Return the files that have appeared, without the first `number`."""
        return self._appeared.records[number:]

    def problems(self) -> list[str]:
        """Return what was wrong with new files since the last call."""
        problems, self._problems = self._problems, []
        return problems

    def look(self) -> list[FileRecords]:
        """Look once; return the new files, which are in the list now."""
        try:
            paths = [path for path in self._expand() if path not in self._known and path not in self._appeared.stamps]
            stamps = {path: files.stamp_of(path) for path in paths if files.exists(path)}
        except (OptionError, DataError) as error:  # nothing there, for now, or a file that was deleted meanwhile
            self._report(str(error))
            return []
        before, self._seen = self._seen, stamps
        ready = [path for path, stamp in stamps.items() if stamp is None or before.get(path) == stamp]
        found = [one for path in ready if (one := self._taken(path, stamps[path])) is not None]
        if found:
            self._appeared.add([(one, stamps[one.path]) for one in found])
        return found

    def _taken(self, path: str, stamp: files.Stamp | None) -> FileRecords | None:
        if path in self._refused and self._refused[path] == stamp:
            return None
        try:
            return self._reader.opened(path, stamp)
        except (DataError, OptionError, OSError) as error:
            self._refused[path] = stamp
            self._report(f"a new file is not used until it changes: {error}")
            return None

    def _report(self, problem: str) -> None:
        if problem != self._last_problem:
            self._problems.append(problem)
        self._last_problem = problem


def _difference(there: Metadata, wanted: Metadata) -> str:
    for name in wanted.column_names:
        if name not in there.column_names:
            return f"it lacks the column {name!r}"
        if there.column_dtypes[name] != wanted.column_dtypes[name]:
            found, first = there.column_dtypes[name], wanted.column_dtypes[name]
            return f"column {name!r} is {found} there, but {first} in the first files"
    return "its columns are not those of the first files"
