"""Files and folders that appear whole or not at all, even if the process is killed or the power fails at any instant.

This is the one place where finished content takes its final name. Content is written under another name in the same
folder, flushed to the disk (files first, then the folders that hold their names), and put in place by a single rename.
That same rename swaps it with whatever was there before, so there is no moment without either.

`renameat2` exchanges two names at once on Linux. Where it is missing (other systems, some network file systems),
replacing a folder takes two renames; `put_back` undoes the first one if the second never happened.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import hashlib
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_AT_FDCWD = -100
_NO_REPLACE, _EXCHANGE = 1, 2
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
_BLOCK = 1 << 20

# ------------------------------------------------------------ flushing


def sync(path: str | os.PathLike[str]) -> None:
    """Flush one file, or the names in one folder, to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems cannot flush a folder, and keep names safe by themselves
        if error.errno not in (errno.EINVAL, errno.EBADF) or not os.path.isdir(path):
            raise
    finally:
        os.close(descriptor)


def sync_tree(path: str | os.PathLike[str]) -> None:
    """Flush a file, or a folder with everything in it. Raises OSError."""
    if os.path.isdir(path):
        for folder, _, files in os.walk(path, topdown=False):
            for name in files:
                file = os.path.join(folder, name)
                if not os.path.islink(file):
                    sync(file)
            sync(folder)
    else:
        sync(path)


class Digest:
    """A digest of files' names, sizes and contents, added in the order of the names."""

    def __init__(self) -> None:
        self._whole = hashlib.blake2b(digest_size=16)

    def add(self, name: str, size: int, content: BinaryIO) -> None:
        """Add a file."""
        encoded = os.fsencode(name)
        self._whole.update(b"%d %s %d\n" % (len(encoded), encoded, size))
        while block := content.read(_BLOCK):
            self._whole.update(block)

    @property
    def value(self) -> str:
        """The digest of what was added, in hexadecimal."""
        return self._whole.hexdigest()


def digest(path: str | os.PathLike[str]) -> str:
    """Return a digest of the content of a file, or of all names and contents in a folder. Raises OSError."""
    top = Path(path)
    whole = Digest()
    named = {file.relative_to(top).as_posix(): file for file in top.rglob("*") if file.is_file()}
    for name, file in sorted(named.items()) if top.is_dir() else [(".", top)]:
        with file.open("rb") as content:
            whole.add(name, file.stat().st_size, content)
    return whole.value


# ------------------------------------------------------------ writing


def aside_name(path: str | os.PathLike[str]) -> str:
    """Return a new hidden name in the same folder."""
    folder, name = os.path.split(os.fspath(path))
    return os.path.join(folder, f".{name}.{os.getpid()}.{secrets.token_hex(4)}")


@contextlib.contextmanager
def new_file(path: str | os.PathLike[str], mode: int = 0o644, *, flush: bool = True) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces `path` when the block ends; a block that fails replaces nothing.

    Without `flush` it is complete after a kill, but may not be after a power failure.
    """
    aside = aside_name(path)
    try:
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            yield file
            if flush:
                file.flush()
                os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)
        raise
    if flush:
        sync(os.path.dirname(path) or ".")


def write(path: str | os.PathLike[str], content: bytes, mode: int = 0o644, *, flush: bool = True) -> None:
    """Replace a file's content: readers see the old content or the new content, never a part. See `new_file`."""
    with new_file(path, mode, flush=flush) as file:
        file.write(content)


# ------------------------------------------------------------ putting in place


def put(source: str | os.PathLike[str], target: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """Move the file or folder at `source`, in the same folder as `target`, to `target`, and make it durable.

    What was at `target` is gone afterwards. If that is more than an empty folder and `overwrite` is false, raises
    FileExistsError and changes nothing. Raises OSError if the file system refuses.
    """
    sync_tree(source)
    parent = os.path.dirname(os.path.abspath(target))
    if not os.path.lexists(target):
        _rename_to_nothing(source, target)
        sync(parent)
        return
    if not overwrite and not _is_empty_folder(target):
        raise FileExistsError(errno.EEXIST, "it already exists", os.fspath(target))
    if not os.path.isdir(target) and not os.path.isdir(source):
        os.replace(source, target)
        sync(parent)
        return
    old = os.fspath(source)
    if not _renamed(source, target, _EXCHANGE):
        old = old_name(target)
        remove(old)
        os.rename(target, old)
        os.rename(source, target)
    sync(parent)
    remove(old)


def put_back(target: str | os.PathLike[str]) -> None:
    """Undo a replacement that was interrupted between its two renames, on systems without the single one."""
    old = old_name(target)
    if os.path.lexists(old):
        if os.path.lexists(target):
            remove(old)
        else:
            os.rename(old, target)


def old_name(target: str | os.PathLike[str]) -> str:
    """Where the old content of `target` is kept for a moment, if it cannot be exchanged in one step."""
    folder, name = os.path.split(os.fspath(target))
    return os.path.join(folder, f".{name}.old")


def take_away(path: str | os.PathLike[str]) -> None:
    """Remove a file or folder in one step, as far as readers can see. Raises OSError if it cannot be renamed."""
    aside = aside_name(path)
    os.rename(path, aside)
    remove(aside)


def clear_left_behind(path: str | os.PathLike[str]) -> None:
    """Remove what processes of this machine that are dead have left under an `aside_name` of this path."""
    folder, name = os.path.split(os.fspath(path))
    pattern = _aside_pattern(name)
    with contextlib.suppress(FileNotFoundError):
        for entry in os.listdir(folder or "."):
            if (match := pattern.fullmatch(entry)) and not _is_alive(int(match[1])):
                remove(os.path.join(folder, entry))


def remove_with_asides(path: str | os.PathLike[str]) -> None:
    """Remove a file or folder whose name is used once, and what anyone has written under an `aside_name` of it."""
    folder, name = os.path.split(os.fspath(path))
    with contextlib.suppress(FileNotFoundError):
        for entry in os.listdir(folder or "."):
            if _aside_pattern(name).fullmatch(entry):
                remove(os.path.join(folder, entry))
    remove(path)


def _aside_pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"\.{re.escape(name)}\.(\d+)\.[0-9a-f]{{8}}")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def remove(path: str | os.PathLike[str]) -> None:
    """Remove a file or folder, if there is one; anything that cannot be removed stays."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _is_empty_folder(path: str | os.PathLike[str]) -> bool:
    return os.path.isdir(path) and not os.path.islink(path) and not os.listdir(path)


def _rename_to_nothing(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    if not _renamed(source, target, _NO_REPLACE):
        os.rename(source, target)


def _renamed(source: str | os.PathLike[str], target: str | os.PathLike[str], flags: int) -> bool:
    """Rename as the flags specify; return whether this system and file system can do that."""
    call = _renameat2()
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), os.fspath(source), None, os.fspath(target))


@functools.cache
def _renameat2() -> Callable[..., int] | None:
    if not sys.platform.startswith("linux"):
        return None
    found: Callable[..., int] | None = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return found
