"""A checkpoint file of one parameter server.

A file is the line `ELASTICDL PS 1`, then frames, each of: the length of its header as uint32, the header (JSON, with
the dtype and shape of each array), the arrays' bytes (little-endian), and the CRC-32 of header and arrays as uint32.
The last frame is of the kind "end" and holds the number of frames before it, so that a truncated file is noticed.

Files are written under another name, flushed to the disk and renamed: one that has its final name is complete.
"""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.errors import DamagedCheckpoint

MAGIC = b"ELASTICDL PS 1\n"
FILE = re.compile(r"server-(\d+)-of-(\d+)(?:\.base|\.delta-\d+)?\.ps")
"""The name of a server's file; see `chain`."""

_LENGTH = struct.Struct("<I")
_LONGEST_HEADER = 64 << 20


@dataclass(frozen=True)
class Frame:
    """A piece of a checkpoint: JSON values and arrays."""

    meta: dict[str, Any]
    arrays: list[NDArray[Any]] = field(default_factory=list)


def file_name(server: int, servers: int) -> str:
    """The name of a server's file in a checkpoint's directory."""
    return f"server-{server}-of-{servers}.ps"


# ------------------------------------------------------------ writing


def save(path: str | os.PathLike[str], frames: Iterable[Frame], *, piece: int = 0) -> int:
    """Write a file in one go; return its size in bytes. Raises OSError and then leaves nothing behind.

    With `piece`, it is also flushed to the disk whenever so many bytes were written.
    """
    return max(save_stepwise(path, frames, piece=piece))


def save_stepwise(path: str | os.PathLike[str], frames: Iterable[Frame], *, piece: int = 0) -> Iterator[int]:
    """Write a file a frame at a time, yielding the bytes written so far; it gets its name when the iterator is done.

    See `save`. An iterator that is closed early, or whose frames fail, leaves nothing behind.
    """
    target = Path(path)
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with open(aside, "wb") as file:
            file.write(MAGIC)
            count = flushed = 0
            for frame in frames:
                _write(file, frame)
                count += 1
                if piece and file.tell() - flushed >= piece:
                    flushed = file.tell()
                    file.flush()
                    os.fsync(file.fileno())
                yield file.tell()
            _write(file, Frame({"kind": "end", "frames": count}))
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        aside.replace(target)
        _sync_directory(target.parent)
        yield size
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _write(file: BinaryIO, frame: Frame) -> None:
    arrays = [np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for array in frame.arrays]
    described = [[array.dtype.str, list(array.shape)] for array in arrays]
    header = json.dumps({**frame.meta, "arrays": described}).encode()
    checksum = zlib.crc32(header)
    file.write(_LENGTH.pack(len(header)))
    file.write(header)
    for array in arrays:
        content = array.reshape(-1).view(np.uint8).data
        checksum = zlib.crc32(content, checksum)
        file.write(content)
    file.write(_LENGTH.pack(checksum))


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ------------------------------------------------------------ reading


def load(path: str | os.PathLike[str]) -> Iterator[Frame]:
    """Yield the frames of a file, each checked before it is yielded.

    Raises DamagedCheckpoint, naming the file, if it is not such a file, was truncated or is damaged.
    """
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise _unusable(f"{name} is not a checkpoint file of a parameter server", name)
            size = os.fstat(file.fileno()).st_size
            for count in range(1 << 62):
                frame = _read(file, name, size)
                if frame.meta.get("kind") == "end":
                    if frame.meta["frames"] != count or file.read(1):
                        raise _damaged(name, file)
                    return
                yield frame
    except OSError as error:
        raise _unusable(f"cannot read the checkpoint file {name}: {error.strerror}", name) from error


def _read(file: BinaryIO, name: str, size: int) -> Frame:
    (length,) = _LENGTH.unpack(_exactly(file, _LENGTH.size, name, size))
    if length > _LONGEST_HEADER:
        raise _damaged(name, file)
    header = _exactly(file, length, name, size)
    try:
        meta = json.loads(header)
        described = [(np.dtype(dtype), tuple(int(n) for n in shape)) for dtype, shape in meta.pop("arrays")]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise _damaged(name, file) from None
    checksum = zlib.crc32(header)
    arrays = []
    for dtype, shape in described:
        if dtype.hasobject or any(n < 0 for n in shape):
            raise _damaged(name, file)
        content = _exactly(file, dtype.itemsize * int(np.prod(shape, dtype=object)), name, size)
        checksum = zlib.crc32(content, checksum)
        arrays.append(np.frombuffer(content, dtype).reshape(shape))
    if _LENGTH.unpack(_exactly(file, _LENGTH.size, name, size)) != (checksum,):
        raise _damaged(name, file)
    return Frame(meta, arrays)


def _exactly(file: BinaryIO, length: int, name: str, size: int) -> bytes:
    if length > size - file.tell():
        raise _unusable(f"{name} was cut off: it ends at byte {size}, within a frame; use another checkpoint", name)
    return file.read(length)


def _damaged(name: str, file: BinaryIO) -> DamagedCheckpoint:
    return _unusable(f"{name} is damaged before byte {file.tell()}; use another checkpoint", name)


def _unusable(problem: str, file: str) -> DamagedCheckpoint:
    return DamagedCheckpoint(problem, os.path.dirname(file))
