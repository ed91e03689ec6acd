"""Files by path or URL: finding them, reading any part of them, writing them so that they appear complete.

Paths on this machine are used as they are. Everything with a protocol (`gs://`, `s3://`, `memory://`, …) goes through
fsspec, which takes its settings from the environment (`AWS_ENDPOINT_URL`, `FSSPEC_S3_ANON`, …).
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, TypeAlias

import fsspec

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.errors import DataError, OptionError, did_you_mean

_PROTOCOL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)")
_GLOB = re.compile(r"[*?\[]")
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
_READ_AHEAD = 4 << 20
_HIDDEN = (".", "_")


def is_local(path: str) -> bool:
    """Whether the path is in this machine's file system."""
    return not _PROTOCOL.match(path)


def file_system(path: str, option: str = "data") -> tuple[Any, str]:
    """Return fsspec's file system for a path or URL, and the path within it; raise OptionError if there is none."""
    protocol = path.partition("://")[0] if not is_local(path) else "file"
    try:
        return fsspec.core.url_to_fs(path)  # type: ignore[no-any-return]
    except ImportError:
        extra = _EXTRAS.get(protocol)
        hint = f'pip install "elasticdl_nb[{extra}]"' if extra else f"install the fsspec package for {protocol}://"
        raise OptionError(option, f"{path}: support for {protocol}:// is not installed; {hint}") from None
    except ValueError as error:
        known = fsspec.available_protocols()
        if unknown := [one for one in protocol.split("::") if one not in known]:
            raise OptionError(
                option,
                f"{path}: nothing is known of {unknown[0]}://. Files are read on this machine and at s3://, gs://, "
                f"abfs://, hdfs://, http(s):// and the like.{did_you_mean(unknown[0], known)}",
            ) from None
        raise OptionError(option, f"{path}: {error}") from None


def plain(path: str) -> str:
    """Return the path without `file://`; made absolute if it is on this machine."""
    path = re.sub(r"^(file|local)://", "", path)
    return os.path.abspath(os.path.expanduser(path)) if is_local(path) else path


# ------------------------------------------------------------------ finding


def expand(path: str, suffixes: Sequence[str], option: str) -> list[str]:
    """Return the files that a path, glob or directory stands for, sorted.

    A directory stands for the files below it whose names end with one of `suffixes` (all files, if there are none),
    except hidden files and those whose names begin with an underscore. So does a glob, unless it has that `.` or `_`
    itself. Raises OptionError if there are none.
    """
    path = plain(path)
    fs, inner = file_system(path, option)
    fs.invalidate_cache()  # of what was in a directory when it was last looked at
    try:
        return _expand(fs, inner, path, suffixes, option)
    except OptionError:
        raise
    except PermissionError as error:
        raise OptionError(option, f"{path}: no permission to read it ({error})") from None
    except OSError as error:
        raise OptionError(option, f"{path}: could not be found ({error})") from None
    except Exception as error:  # libraries of object stores have errors of their own, as for missing credentials
        if is_local(path):
            raise
        raise OptionError(option, f"{path}: could not be looked for ({type(error).__name__}: {error})") from None


def _expand(fs: Any, inner: str, path: str, suffixes: Sequence[str], option: str) -> list[str]:
    if fs.isfile(inner):
        return [path]
    if fs.isdir(inner):
        below = [name for name in fs.find(inner) if not _is_hidden(name[len(inner.rstrip("/")) :])]
        found = [name for name in below if not suffixes or name.lower().endswith(tuple(suffixes))]
        if not found:
            raise OptionError(option, f"the directory {path} contains no data files ({', '.join(suffixes)})")
    elif _GLOB.search(inner):
        matched = [name for name, info in fs.glob(inner, detail=True).items() if info["type"] == "file"]
        found = [name for name in matched if not _is_hidden(name, inner)]
        if not found:
            hidden = " but hidden ones, whose names begin with . or _" if matched else ""
            raise OptionError(option, f"no file matches {path}{hidden}")
    else:
        raise OptionError(option, f"there is no file {path}{_near(fs, inner)}")
    return sorted(name if is_local(path) else str(fs.unstrip_protocol(name)) for name in found)


def is_glob(path: str) -> bool:
    """Whether the path has wildcards."""
    return bool(_GLOB.search(path))


def _is_hidden(path: str, asked: str = "") -> bool:
    """Whether a part of the path begins with `.` or `_`, other than those of which a part of the glob `asked` does."""
    meant = [part for part in asked.split("/") if part.startswith(_HIDDEN)]
    hidden = [part for part in path.split("/") if part.startswith(_HIDDEN)]
    return any(not any(fnmatch.fnmatchcase(part, one) for one in meant) for part in hidden)


def _near(fs: Any, inner: str) -> str:
    folder, _, name = inner.rpartition("/")
    with contextlib.suppress(OSError):
        return did_you_mean(name, [entry.rpartition("/")[2] for entry in fs.ls(folder or "/", detail=False)])
    return ""


def exists(path: str, option: str = "output") -> bool:
    """Whether there is a file or directory at that path."""
    fs, inner = file_system(plain(path), option)
    return bool(fs.exists(inner))


# ------------------------------------------------------------------ reading


Stamp: TypeAlias = tuple[int, int]
"""Size in bytes, and when it was last changed, in nanoseconds."""

_MOST_OPEN = 64


def stamp_of(path: str) -> Stamp | None:
    """Return the stamp of a file of this machine; None for others. Raises DataError if it cannot be looked at."""
    if not is_local(path):
        return None
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(f"{path}: could not be read: {error.strerror or error}") from error
    return status.st_size, status.st_mtime_ns


def check_unchanged(path: str, listed: Stamp | None) -> None:
    """Raise DataError if a file of this machine is not as it was when it was listed (None: it was not)."""
    if listed is not None:
        if not os.path.exists(path):
            raise DataError(f"{path} was deleted after the job had listed its files")
        _compare(path, listed, stamp_of(path))


def _compare(path: str, listed: Stamp, now: Stamp | None) -> None:
    if now is not None and now != listed:
        what = f"{listed[0]:,} bytes then, {now[0]:,} now" if listed[0] != now[0] else "it was written again"
        raise DataError(f"{path} was changed after the job had listed its files ({what})")


class _OpenFile:
    def __init__(self, number: int) -> None:
        self.number, self.users = number, 0


class _OpenFiles:
    """The files of this machine that were read last, open: a few, however many there are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[str, Stamp], _OpenFile] = OrderedDict()

    @contextlib.contextmanager
    def descriptor(self, path: str, stamp: Stamp, shown: str) -> Iterator[int]:
        """Give an open file's descriptor for the length of the block."""
        key = path, stamp
        with self._lock:
            file = self._open.get(key)
            if file is None:
                file = self._open[key] = _OpenFile(_opened(path, shown))
            self._open.move_to_end(key)
            file.users += 1
            self._make_room()
        try:
            # Each time: one that is written again in place is the same open file.
            _compare(shown, stamp, _stamp_of_open(file.number))
            yield file.number
        finally:
            with self._lock:
                file.users -= 1
                self._make_room()

    def _make_room(self) -> None:
        for key, file in list(self._open.items())[: max(0, len(self._open) - _MOST_OPEN)]:
            if not file.users:
                del self._open[key]
                os.close(file.number)


def _opened(path: str, shown: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise DataError(f"{shown} was deleted after the job had listed its files") from None


def _stamp_of_open(number: int) -> Stamp:
    status = os.fstat(number)
    return status.st_size, status.st_mtime_ns


_OPEN_FILES = _OpenFiles()


class Source:
    """The bytes of one file, any part at any time; safe to use from several threads.

    `stamp` is what the file's must be, if it was listed before; `at` is where the bytes are, if not in the file itself.
    Raises DataError when the file cannot be read, or is not what it was.
    """

    def __init__(self, path: str, stamp: Stamp | None = None, at: str = "") -> None:
        self.path, self._at = path, at or path
        self._fs: Any = None
        self._ahead: tuple[int, bytes] = (0, b"")
        self.stamp = stamp if stamp is not None and not at else stamp_of(self._at)
        if self.stamp is not None:
            self.size = self.stamp[0]
            return
        with self._errors():
            self._fs, self._inner = file_system(path)
            self.size = int(self._fs.size(self._inner))

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(f"{self.path}: could not be read: {error.strerror or error}") from error
        except (DataError, OptionError):
            raise
        except Exception as error:  # of the library of an object store
            raise DataError(f"{self.path}: could not be read: {type(error).__name__}: {error}") from error

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes starting at `offset`, fewer only at the end of the file."""
        size = max(0, min(size, self.size - offset))
        if size == 0:
            return b""
        with self._errors():
            if self.stamp is None:
                return bytes(self._fs.cat_file(self._inner, start=offset, end=offset + size))
            with _OPEN_FILES.descriptor(self._at, self.stamp, self.path) as file:
                data = os.pread(file, size, offset)
                while 0 < len(data) < size and (more := os.pread(file, size - len(data), offset + len(data))):
                    data += more
            return data

    def peek(self, offset: int, size: int) -> bytes:
        """Like `read`, for small consecutive pieces: remote files are read some megabytes at a time."""
        if self.stamp is not None:
            return self.read(offset, size)
        begin, data = self._ahead
        if not begin <= offset <= offset + size <= begin + len(data):
            begin, data = self._ahead = offset, self.read(offset, max(size, _READ_AHEAD))
        return data[offset - begin : offset - begin + size]


# ------------------------------------------------------------------ writing


@contextlib.contextmanager
def write_aside(path: str, *, flush: bool = True) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name, complete, when the block ends; not at all if it fails.

    Object stores do that by themselves; on this machine see `durable.new_file`, which says what `flush` does.
    """
    path = plain(path)
    if not is_local(path):
        fs, inner = file_system(path, "output")
        file = fs.open(inner, "wb", autocommit=False)
        try:
            yield file
        except BaseException:
            _discard(fs, inner, file)
            raise
        file.close()
        file.commit()
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with durable.new_file(path, flush=flush) as file:
        yield file


def _discard(fs: Any, inner: str, file: Any) -> None:
    if fs.protocol == "memory":  # where files appear with their first byte
        fs.rm(inner)
        return
    with contextlib.suppress(NotImplementedError, OSError):
        file.discard()
    file.closed = True  # or it would upload the rest when it is garbage-collected


@contextlib.contextmanager
def folder_aside(path: str) -> Iterator[str]:
    """Yield a folder to fill, which takes the place of `path` when the block ends and vanishes if the block fails.

    Folders in object stores are filled in place, after removing what was there before.
    """
    path = plain(path)
    if not is_local(path):
        fs, inner = file_system(path, "output")
        if fs.exists(inner):
            fs.rm(inner, recursive=True)
        yield path
        return
    aside = durable.aside_name(path)
    os.makedirs(aside)
    try:
        yield aside
        durable.put(aside, path)
    finally:
        durable.remove(aside)
