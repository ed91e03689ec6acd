"""Results appear whole or not at all: they are written elsewhere first, then moved into place.

Local outputs are renamed. Object stores cannot rename, so files are uploaded one by one, the marker last.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

import fsspec


def is_remote(path: str) -> bool:
    """Whether a path is a URL of a file system other than this machine's."""
    return "://" in path and not path.startswith(("file://", "local://"))


def local_path(path: str) -> Path:
    """The path on this machine that a plain path or file:// URL names."""
    return Path(path.removeprefix("file://").removeprefix("local://"))


def exists(path: str) -> bool:
    """Whether there is a file or directory at a path or URL."""
    if not is_remote(path):
        return local_path(path).exists()
    filesystem, inner = fsspec.core.url_to_fs(path)
    return bool(filesystem.exists(inner))


def aside(output: str, scratch: str | os.PathLike[str]) -> Path:
    """Return a fresh path to write to before it becomes `output`; for remote outputs, it is in `scratch`."""
    name = f".{output.rstrip('/').rpartition('/')[2]}.{secrets.token_hex(4)}.partial"
    parent = Path(scratch) if is_remote(output) else local_path(output).absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    return parent / name


def discard(path: Path | None) -> None:
    """Remove what was written aside, if anything, and will not be published."""
    if path is not None and path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    elif path is not None:
        path.unlink(missing_ok=True)


def publish(source: Path, output: str, *, overwrite: bool, marker: str = "") -> str:
    """Make the file or directory at `source` the output; return where it is.

    `marker` names the file in a directory whose presence means that the rest is complete. Raises FileExistsError if
    `output` exists (and is more than an empty directory) and `overwrite` is false.
    """
    if is_remote(output):
        return _upload(source, output.rstrip("/"), overwrite, marker)
    target = local_path(output.rstrip("/")).absolute()
    if source.is_dir() and target.is_dir() and not any(target.iterdir()):
        target.rmdir()
    if not target.exists():
        source.rename(target)
        return os.fspath(target)
    if not overwrite:
        raise FileExistsError(f"output: {target} exists")
    old = target.with_name(f".{target.name}.{secrets.token_hex(4)}.old")
    target.rename(old)
    source.rename(target)
    shutil.rmtree(old) if old.is_dir() else old.unlink()
    return os.fspath(target)


def _upload(source: Path, output: str, overwrite: bool, marker: str) -> str:
    filesystem, path = fsspec.core.url_to_fs(output)
    if filesystem.exists(path):
        if not overwrite:
            raise FileExistsError(f"output: {output} exists")
        filesystem.rm(path, recursive=True)
    if source.is_dir():
        files = sorted(file for file in source.rglob("*") if file.is_file())
        for file in sorted(files, key=lambda file: file.name == marker):
            filesystem.put_file(os.fspath(file), f"{path}/{file.relative_to(source).as_posix()}")
    else:
        filesystem.put_file(os.fspath(source), path)
    return output
