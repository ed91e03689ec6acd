"""A job's result becomes its output: completely or not at all, once, and with proof of its origin.

The job's folder keeps a record of the publication: where the output goes, where it is first written, and, once it is
complete, its digest. A result counts as published if the content at the output has that digest, never because something
is missing elsewhere. So whoever takes over after a death knows how far the dead process had got, whatever it was doing.

On this machine and on mounted volumes, `runtime.durable` puts the output in place. Object stores replace single files
in one step. In a folder of files the marker comes last, and the files that it names have new names of their own, so
that readers find the old files or the new ones. The old ones are removed after that.
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
    """Whether an upload may have begun: then whatever is at a URL is ours, or may be overwritten."""


class Publication:
    """The publication of one job's result; `folder` is the job's, where the record is kept.

    `marker` names the file in a folder whose presence tells readers that the rest is complete.
    """

    def __init__(self, folder: Path, output: str, *, overwrite: bool, marker: str = "") -> None:
        self._folder, self._overwrite, self._marker = folder, overwrite, marker
        # The target of a link is replaced, rather than the link.
        self.output = output if is_remote(output) else os.path.realpath(local_path(output))

    @property
    def is_done(self) -> bool:
        """Whether this job's result is at the output, by its digest."""
        record = _read(self._folder)
        return record is not None and record.output == self.output and bool(record.digest) and self._holds(record)

    def publish(self, write: Callable[[Path], None]) -> str:
        """Call `write` with an unused path to write the result, and make that the output; return where it is.

        Does nothing if it is there already. Raises FileExistsError if something else is there, more than an empty
        folder, and the job does not overwrite; whatever `write` raises; and OSError. Then nothing of the result is
        left.
        """
        done, record = self.is_done, _read(self._folder)
        clean(self._folder)
        if done:
            return self.output
        if is_remote(self.output) and not (record and record.claimed) and not self._overwrite and exists(self.output):
            raise FileExistsError(errno.EEXIST, "it already exists", self.output)
        aside = self._aside()
        self._record(_Record(self.output, os.fspath(aside)))
        try:
            write(aside)
            # Known before the result takes its name, so that it can be distinguished from what was there before.
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


def published(folder: Path) -> str:
    """Return where the job of this folder has published its result; empty if it has not."""
    record = _read(folder)
    if record is None or not Publication(folder, record.output, overwrite=False).is_done:
        return ""
    return record.output


def _remote_digest(url: str) -> str:
    """Return `durable.digest` of a file or folder at a URL; an empty string if nothing is there."""
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
    """Remove what the job of this folder left of its publication besides the output; call it at the job's end.

    A replacement that was interrupted half-way is undone, where the file system could not do it in one step.
    """
    record = _read(folder)
    if record is not None:
        if not is_remote(record.output):
            durable.put_back(record.output)
        durable.remove_with_asides(record.aside)


def _read(folder: Path) -> _Record | None:
    try:
        return _Record(**json.loads((folder / RECORD).read_bytes()))
    except FileNotFoundError:
        return None
