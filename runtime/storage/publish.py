"""A job's result becomes its output: whole or not at all, once, and with proof of whose it is.

The job's folder keeps a record of the publication: where the output goes, where it is written aside, and, once it is
complete, its digest. A result counts as published when what is at the output has that digest, never because something
is missing elsewhere. So whoever takes over after a death knows what the dead one had done, whatever it was doing.

On this machine and on mounted volumes the output is put in place by `runtime.durable`. Object stores replace single
files at once; of a folder's files the marker comes last, and the files that it names have names of their own, so that
readers find the old ones or the new ones. The old ones are removed after that.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import fsspec

from elasticdl_nb.runtime import durable

RECORD = "publication.json"


def is_remote(path: str) -> bool:
    """Whether a path is a URL of a file system other than this machine's."""
    return "://" in path and not path.startswith(("file://", "local://"))


def exists(path: str) -> bool:
    """Whether there is a file or directory at a path or URL."""
    if not is_remote(path):
        return local_path(path).exists()
    filesystem, inner = fsspec.core.url_to_fs(path)
    return bool(filesystem.exists(inner))


def local_path(path: str) -> Path:
    """The path on this machine that a plain path or file:// URL names."""
    return Path(path.removeprefix("file://").removeprefix("local://"))


@dataclass(frozen=True)
class _Record:
    output: str
    aside: str
    digest: str = ""
    claimed: bool = False
    """Whether an upload may have begun: what is at a URL is ours then, or what we may overwrite."""


class Publication:
    """The publication of one job's result; `folder` is the job's, where the record is kept.

    `marker` names the file of a folder whose presence tells readers that the rest is complete.
    """

    def __init__(self, folder: Path, output: str, *, overwrite: bool, marker: str = "") -> None:
        self._folder, self._overwrite, self._marker = folder, overwrite, marker
        # What a link points to is replaced, rather than the link.
        self.output = output if is_remote(output) else os.path.realpath(local_path(output))

    @property
    def is_done(self) -> bool:
        """Whether this job's result is at the output, by its digest."""
        record = _read(self._folder)
        return record is not None and record.output == self.output and bool(record.digest) and self._holds(record)

    def publish(self, write: Callable[[Path], None]) -> str:
        """Have the result written by `write`, at a path where nothing is, and make it the output; return where it is.

        Does nothing if it is there already. Raises FileExistsError if something else is, more than an empty folder,
        and the job does not overwrite; what `write` raises; and OSError. Then nothing of it is left.
        """
        done, record = self.is_done, _read(self._folder)
        clean(self._folder)
        if done:
            return self.output
        if is_remote(self.output) and not (record and record.claimed) and not self._overwrite and exists(self.output):
            raise FileExistsError(errno.EEXIST, "it exists already", self.output)
        aside = self._aside()
        self._record(_Record(self.output, os.fspath(aside)))
        try:
            write(aside)
            # Known before the result takes its name, so that it can be told from what was there before.
            self._record(_Record(self.output, os.fspath(aside), durable.digest(aside), claimed=True))
            self._put(aside)
        finally:
            durable.remove(aside)
        return self.output

    def _aside(self) -> Path:
        name = f".{self.output.rstrip('/').rpartition('/')[2]}.{secrets.token_hex(4)}.partial"
        parent = self._folder if is_remote(self.output) else Path(self.output).parent
        parent.mkdir(parents=True, exist_ok=True)
        return parent / name

    def _record(self, record: _Record) -> None:
        durable.write(self._folder / RECORD, json.dumps(asdict(record)).encode())

    def _put(self, aside: Path) -> None:
        if is_remote(self.output):
            self._upload(aside)
        else:
            durable.put(aside, self.output, overwrite=self._overwrite)

    def _holds(self, record: _Record) -> bool:
        if is_remote(self.output):
            return _remote_digest(self.output) == record.digest
        durable.put_back(self.output)
        return os.path.lexists(self.output) and durable.digest(self.output) == record.digest

    def _upload(self, source: Path) -> None:
        filesystem, path = fsspec.core.url_to_fs(self.output.rstrip("/"))
        files = sorted(file for file in source.rglob("*") if file.is_file()) if source.is_dir() else [source]
        places = {f"{path}/{file.relative_to(source).as_posix()}" if source.is_dir() else path: file for file in files}
        before = set(filesystem.find(path)) if filesystem.exists(path) else set()
        for place in sorted(places, key=lambda place: places[place].name == self._marker):
            filesystem.put_file(os.fspath(places[place]), place)
        for place in before - {filesystem._strip_protocol(place) for place in places}:
            filesystem.rm_file(place)


def _remote_digest(url: str) -> str:
    """Return what `durable.digest` would, of a file or folder at a URL; an empty string if nothing is there."""
    filesystem, path = fsspec.core.url_to_fs(url.rstrip("/"))
    if not filesystem.exists(path):
        return ""
    whole = durable.Digest()
    if filesystem.isfile(path):
        with filesystem.open(path, "rb") as content:
            whole.add(".", filesystem.size(path), content)
    else:
        root = filesystem._strip_protocol(path).rstrip("/")
        for place in sorted(filesystem.find(path)):
            with filesystem.open(place, "rb") as content:
                whole.add(place[len(root) + 1 :], filesystem.size(place), content)
    return whole.value


def clean(folder: Path) -> None:
    """Remove what a job whose folder this is has left of its publication besides the output; call it at the job's end.

    A replacement that was cut off half-way is undone, where the file system could not do it in one step.
    """
    record = _read(folder)
    if record is not None:
        if not is_remote(record.output):
            durable.put_back(record.output)
        durable.remove(record.aside)


def _read(folder: Path) -> _Record | None:
    try:
        return _Record(**json.loads((folder / RECORD).read_bytes()))
    except FileNotFoundError:
        return None
