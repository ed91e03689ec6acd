"""Data that grows: reading a directory or glob in which files appear while a job trains.

The job's first files are listed once, as those of any job. Each later one gets a line in a file beside that list, after
`discovery` found it complete and of the same columns. Workers read the lines when they get a task of a file that they
do not know. What the columns are is written beside, too, so that files which have been used can be deleted.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.data import files
from elasticdl_nb.runtime.data.chunks import Chunk, FileRecords, Metadata, Records
from elasticdl_nb.runtime.data.files import Stamp
from elasticdl_nb.runtime.data.listing import Listing
from elasticdl_nb.runtime.data.tablereader import KeptGroups, no_such_file
from elasticdl_nb.runtime.errors import DataError, OptionError

_MOST_OPEN = 16
"""Files that a process keeps open."""

_KEPT_BYTES = 64 << 20
"""Of the groups of rows that were read last; files are read once, one after another."""

_STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory")
"""Object stores, where a file appears when it is complete."""


def appeared_in(listings: Path, option: str) -> Path:
    """Where the files that have appeared are listed, in a job's folder for such lists."""
    return listings / f"{option}.appeared"


def check_can_grow(paths: Sequence[str], option: str) -> None:
    """Raise OptionError if no file can appear in any of these paths, or if a file can be seen there half-written."""
    if not any(_can_grow(path, option) for path in paths):
        raise OptionError(
            "follow", f"has an effect only if {option} is a directory or glob: files can appear in nothing else"
        )
    for path in paths:
        protocol = files.plain(path).partition("://")[0]
        if not files.is_local(files.plain(path)) and protocol not in _STORES:
            raise OptionError(
                "follow", f"{path}: a file on {protocol}:// can be seen before it is complete; only directories of "
                "this machine, s3://, gs:// and abfs:// can be followed",
            )  # fmt: skip


def _can_grow(path: str, option: str) -> bool:
    fs, inner = files.file_system(files.plain(path), option)
    return files.is_glob(inner) or bool(fs.isdir(inner))


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

    def add(self, found: Sequence[tuple[FileRecords, Stamp | None]]) -> None:
        """Add lines, in place of what a process that died had only begun to write."""
        lines = "".join(json.dumps([one.path, stamp, one.records]) + "\n" for one, stamp in found)
        with open(self._place, "ab") as file:
            file.truncate(self._offset)
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())
        self.read()


class FileReader(Protocol):
    """A `Reader` of one file, or of several, whose form is known."""

    @property
    def metadata(self) -> Metadata:
        """Its columns."""

    def files(self) -> list[FileRecords]:
        """Return every file with its number of records."""

    def read(self, path: str, start: int, end: int) -> Iterator[Chunk]:
        """Read records [start, end) of a file."""


class BytesFileReader(FileReader, Protocol):
    """One whose records are bytes, which can be read in pieces."""

    def pieces(self, path: str, start: int, end: int) -> Iterator[Callable[[], Records]]:
        """Return calls that together read records [start, end) of a file."""


Open = Callable[[Listing, Metadata | None, KeptGroups], FileReader]
"""Opens files whose columns must be like these, if given, with the groups of rows that were read last."""


class FollowingReader:
    """A `Reader` of a job's first files and of those that have appeared since; see reader.py for the interface.

    Files are opened one by one, when they are read: the others may have been deleted by then.
    """

    def __init__(
        self, listing: Listing, listings: Path, option: str, form: Literal["bytes", "strings", "columns"],
        open_files: Open,
    ) -> None:  # fmt: skip
        self.form: Literal["bytes", "strings", "columns"] = form
        self.listing = listing
        self._columns_in = listings / f"{option}.columns.json"
        self._open = open_files
        self._appeared = Appeared(appeared_in(listings, option))
        self._kept = KeptGroups(_KEPT_BYTES)
        self._lock = threading.Lock()
        self._readers: OrderedDict[str, FileReader] = OrderedDict()

    @cached_property
    def _first(self) -> FileReader:
        return self._open(self.listing, None, self._kept)

    @cached_property
    def metadata(self) -> Metadata:
        """The first files' columns, which all others have too."""
        with contextlib.suppress(FileNotFoundError):
            found = json.loads(self._columns_in.read_text())
            found["column_shapes"] = {name: tuple(shape) for name, shape in found["column_shapes"].items()}
            return Metadata(**found)
        metadata = self._first.metadata
        durable.write(self._columns_in, json.dumps(asdict(metadata)).encode())
        return metadata

    def check(self) -> None:
        """Do nothing: the first files were checked when there was no job yet."""

    def files(self) -> list[FileRecords]:
        """Return the first files; the master knows the others."""
        return self._first.files()

    def read(self, path: str, start: int, end: int) -> Iterator[Chunk]:
        """Read records [start, end) of a file."""
        return self._reader_of(path).read(path, start, end)

    def pieces(self, path: str, start: int, end: int) -> Iterator[Callable[[], Records]]:
        """Return calls that together read records [start, end) of a file of bytes."""
        reader: BytesFileReader = self._reader_of(path)  # type: ignore[assignment]
        return reader.pieces(path, start, end)

    def _reader_of(self, path: str) -> FileReader:
        with self._lock:
            if path not in self._readers:
                self._readers[path] = self._opened({path: self._stamp_of(path)})
                while len(self._readers) > _MOST_OPEN:
                    self._readers.popitem(last=False)
            self._readers.move_to_end(path)
            return self._readers[path]

    def _stamp_of(self, path: str) -> Stamp | None:
        for listing in (self.listing, self._appeared.stamps):
            if path in listing:
                return listing[path]
        self._appeared.read()
        if path not in self._appeared.stamps:
            raise no_such_file(path)
        return self._appeared.stamps[path]

    def _opened(self, listing: Listing) -> FileReader:
        return self._open(listing, self.metadata, self._kept)

    def counted(self, path: str, stamp: Stamp | None) -> FileRecords:
        """Count the records of a new file; raise DataError if it cannot be read, or lacks the first files' columns."""
        reader = self._opened({path: stamp})
        (found,) = reader.files()
        if found.records and reader.metadata != self.metadata:
            raise DataError(f"{path}: its columns are not those of the job's first files")
        return found
