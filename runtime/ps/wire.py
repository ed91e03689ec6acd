"""Messages between workers and parameter servers, as frames of bytes.

A message is a header of fixed size, a body (JSON: the request or answer, and the form of each array), and the arrays'
bytes, little-endian. Small arrays share one frame, each padded to 8 bytes; every large one has its own frame,
which needs no copying. The header ends with a MAC of header and body under a key of the job, so that messages from
outside the job are dropped before their bodies are parsed.

Where both sides have memory in common (`segment`), the arrays may be there instead, and the body says where.

Pure: nothing here knows about sockets.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.ps.arena import padded

MAGIC = b"EDPS"
VERSION = 1
HEADER = struct.Struct("<4sBBxxQQ")
MAC_SIZE = 16

OWN_FRAME = 64 << 10
"""Arrays of at least this many bytes have their own frame."""

PIECE = 60 << 10
"""Bytes of a piece, where frames are cut: a stranger's frames must be small."""

_CODES: dict[str, np.dtype[Any]] = {
    "f": np.dtype("<f4"), "h": np.dtype("<u2"), "i": np.dtype("<i8"), "n": np.dtype("<i4"),
}  # fmt: skip
_NAMES: dict[np.dtype[Any], str] = {dtype.newbyteorder("="): code for code, dtype in _CODES.items()}
_PARTS = "p"
_EMPTY = np.empty(0, np.float32)
_MAX_DIMENSIONS = 8
_FIRST_ARRAYS = 2  # the frames before the arrays: header and body

Buffer = bytes | memoryview


class Kind(enum.IntEnum):
    """What a message says."""

    INITIALIZE = 1
    STEP = 2
    ASSIGN = 3
    EXPORT = 4
    SETTLE = 5
    STATUS = 6
    POSITION = 7
    ANNOUNCE = 8
    WRITE = 9
    SHARE = 10
    REPLY = 64
    ERROR = 65


class WireError(Exception):
    """Frames that are not a valid message of this job."""


class TooLarge(WireError):
    """A message of the job that is larger than its receiver allows: `size` bytes, request number `request`."""

    def __init__(self, size: int, request: int) -> None:
        super().__init__(f"{size} bytes, which is more than allowed")
        self.size, self.request = size, request


@dataclass(frozen=True)
class Limits:
    """The largest message that is accepted; these limits are the protocol's own."""

    frame: int = 2 << 30
    message: int = 4 << 30
    frames: int = 1 << 16
    body: int = 16 << 20

    def allow(self, sizes: Sequence[int]) -> bool:
        """Whether a message whose frames have these sizes is within the limits."""
        return (
            len(sizes) <= self.frames
            and max(sizes) <= self.frame
            and sum(sizes) <= self.message
            and sizes[1] <= self.body
        )


LIMITS = Limits()


class Shared(NamedTuple):
    """Where arrays are in a segment: those of a message begin at `start`, or are in its frames if that is None.

    The answer's may be put at `room`, where `size` bytes are free. `segment` is the server's number for the memory.
    """

    segment: int
    start: int | None = None
    room: int = 0
    size: int = 0


Memory = Callable[[int, Shared], NDArray[np.uint8] | None]
"""Returns the bytes from where the arrays of a message begin, given its request number; None if there are none."""


Piece = NDArray[Any] | list[NDArray[Any]]
"""An array of a message, or flat ones of float32 that lie next to each other where they are shared."""


@dataclass(frozen=True)
class Message:
    """`request` numbers a sender's requests; an answer carries the same. `meta` holds plain JSON values."""

    kind: Kind
    generation: int
    request: int
    meta: Mapping[str, Any] = field(default_factory=dict)
    arrays: Sequence[Piece] = ()
    shared: Shared | None = None


def frame_key(token: str) -> bytes:
    """Return the key for the MACs, derived from the job's token."""
    return hashlib.blake2b(token.encode(), digest_size=32, person=b"elasticdl frame").digest()


# ------------------------------------------------------------ writing


def encode(message: Message, key: bytes) -> list[Buffer]:
    """Return the frames of a message; arrays are float32, int64, int32 or uint16.

    Large ones must not change until it is sent. Those that are shared must be in their place (`place`).
    """
    forms = [_form_of(piece) for piece in message.arrays]
    shared = message.shared
    body = json.dumps([message.meta, forms, *([] if shared is None else [shared])], separators=(",", ":")).encode()
    fixed = HEADER.pack(MAGIC, VERSION, message.kind, message.generation, message.request)
    head: list[Buffer] = [fixed + _mac(fixed, body, key), body]
    return head if shared is not None and shared.start is not None else head + _frames(message.arrays)


def _form_of(piece: Piece) -> list[Any]:
    if isinstance(piece, list):
        return [_PARTS, *[part.size for part in piece]]
    return [_NAMES[piece.dtype], *piece.shape]


def _frames(pieces: Sequence[Piece]) -> list[Buffer]:
    small, large = [], []
    for array in [part for piece in pieces for part in (piece if isinstance(piece, list) else [piece])]:
        flat = np.ascontiguousarray(array, _CODES[_NAMES[array.dtype]]).reshape(-1).view(np.uint8)
        if flat.nbytes >= OWN_FRAME:
            large.append(flat.data)
        else:
            small.append(flat.tobytes())
            small.append(bytes(-flat.nbytes % 8))
    return [b"".join(small), *large]


def copied(pieces: Sequence[Piece]) -> list[Piece]:
    """Return copies of arrays."""
    return [[part.copy() for part in piece] if isinstance(piece, list) else piece.copy() for piece in pieces]


def extent(pieces: Sequence[Piece]) -> int:
    """Return how many bytes `place` needs."""
    return sum([padded(_size_of(piece)) for piece in pieces])


def _size_of(piece: Piece) -> int:
    return sum([part.nbytes for part in piece]) if isinstance(piece, list) else piece.nbytes


def place(pieces: Sequence[Piece], memory: NDArray[np.uint8]) -> None:
    """Copy arrays into memory, one after the other, each `padded`."""
    start = 0
    for piece in pieces:
        stop = start + _size_of(piece)
        if isinstance(piece, list):
            np.concatenate([_EMPTY, *piece], out=memory[start:stop].view(_CODES["f"]))
        else:
            memory[start:stop].view(_CODES[_NAMES[piece.dtype]]).reshape(piece.shape)[...] = piece
        start = padded(stop)


def _mac(fixed: Buffer, body: Buffer, key: bytes) -> bytes:
    mac = hashlib.blake2b(fixed, key=key, digest_size=MAC_SIZE)
    mac.update(body)
    return mac.digest()


def cut(frames: Sequence[Buffer]) -> list[Buffer]:
    """Cut frames into pieces: a piece of `PIECE` bytes is followed by more of its frame, a smaller one is its last."""
    return [memoryview(frame)[start : start + PIECE] for frame in frames for start in range(0, len(frame) + 1, PIECE)]


# ------------------------------------------------------------ reading


def joined(pieces: Sequence[Buffer]) -> list[Buffer]:
    """Return the frames that were `cut` into these pieces; raise WireError if the last is incomplete."""
    frames: list[Buffer] = []
    parts: list[Buffer] = []
    for piece in pieces:
        parts.append(piece)
        if len(piece) < PIECE:
            frames.append(parts[0] if len(parts) == 1 else b"".join(parts))
            parts = []
    if parts:
        raise WireError("a frame without its end")
    return frames


def _nowhere(request: int, shared: Shared) -> None:
    """There is no common memory: see `Memory`."""


def decode(frames: Sequence[Buffer], key: bytes, limits: Limits = LIMITS, memory: Memory = _nowhere) -> Message:
    """Return the message in these frames; its arrays are read-only views of them, or of `memory`. Raises WireError.

    It is TooLarge if the message is one of the job's.
    """
    if not _FIRST_ARRAYS <= len(frames) <= LIMITS.frames:
        raise WireError(f"{len(frames)} frames")
    sizes = [len(frame) for frame in frames]
    if max(sizes) > LIMITS.frame or sum(sizes) > LIMITS.message or sizes[1] > LIMITS.body:
        raise WireError(f"{sum(sizes)} bytes, which is more than allowed")
    header, body = bytes(frames[0]), bytes(frames[1])
    if len(header) != HEADER.size + MAC_SIZE:
        raise WireError(f"a header of {len(header)} bytes")
    fixed, mac = header[: HEADER.size], header[HEADER.size :]
    if not hmac.compare_digest(mac, _mac(fixed, body, key)):
        raise WireError("it does not carry the job's token")
    magic, version, kind, generation, request = HEADER.unpack(fixed)
    if magic != MAGIC or version != VERSION:
        raise WireError(f"protocol {magic!r} version {version}; this is {MAGIC!r} version {VERSION}")
    if not limits.allow(sizes):
        raise TooLarge(sum(sizes), request)
    try:
        meta, forms, *rest = json.loads(body)
        known = Kind(kind)
    except (ValueError, TypeError, RecursionError) as error:
        raise WireError(f"kind {kind} with a body that cannot be read: {error}") from None
    if not isinstance(meta, dict) or not isinstance(forms, list) or len(rest) > 1:
        raise WireError("a body with an unexpected structure")
    shared = _shared(rest[0]) if rest else None
    if shared is None or shared.start is None:
        return Message(known, generation, request, meta, _arrays(forms, frames[_FIRST_ARRAYS:]), shared)
    arrays = _placed(forms, memory(request, shared))
    size = extent(arrays)
    if not limits.allow([*sizes, size]):
        raise TooLarge(sum(sizes) + size, request)
    return Message(known, generation, request, meta, arrays, shared)


def _shared(values: Any) -> Shared:
    match values:
        case [int(), int() | None, int(), int()] if all(one is None or one >= 0 for one in values):
            return Shared(*values)
    raise WireError(f"arrays in {str(values)[:80]}")


def _placed(forms: list[Any], memory: NDArray[np.uint8] | None) -> list[Piece]:
    if memory is None:
        raise WireError("arrays in memory that is not there")
    start, pieces = 0, []
    for form in forms:
        parts = _parts(form)
        dtype, shape, size = _form(["f", sum(parts)] if parts is not None else form)
        if start + size > len(memory):
            raise WireError(f"an array of {size} bytes in memory of {len(memory) - start}")
        array = memory[start : start + size].view(dtype).reshape(shape)
        array.flags.writeable = False
        pieces.append(array if parts is None else _divided(array, parts))
        start += padded(size)
    return pieces


def _divided(array: NDArray[Any], sizes: list[int]) -> list[NDArray[Any]]:
    return [array[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]


def _parts(form: Any) -> list[int] | None:
    """Return the sizes of arrays that lie next to each other; None for a single one."""
    match form:
        case [code, *sizes] if code == _PARTS and len(sizes) <= LIMITS.frames:
            if all(type(n) is int and 0 <= n <= LIMITS.message for n in sizes):
                return sizes
    return None


def _arrays(forms: list[Any], chunks: Sequence[Buffer]) -> list[Piece]:
    if not chunks:
        raise WireError(f"{_FIRST_ARRAYS} frames")
    unread = _Unread(chunks)
    pieces: list[Piece] = []
    for form in forms:
        parts = _parts(form)
        pieces.append(unread.array(form) if parts is None else [unread.array(["f", size]) for size in parts])
    unread.end()
    return pieces


class _Unread:
    """The frames of arrays, the first of which has the small ones."""

    def __init__(self, chunks: Sequence[Buffer]) -> None:
        self._small, self._large, self._offset = chunks[0], iter(chunks[1:]), 0

    def array(self, form: Any) -> NDArray[Any]:
        """Return the next array."""
        dtype, shape, size = _form(form)
        if size >= OWN_FRAME:
            chunk, start = next(self._large, b""), 0
        else:
            chunk, start = self._small, self._offset
            self._offset += size + -size % 8
        if start + size > len(chunk) or (chunk is not self._small and size != len(chunk)):
            raise WireError(f"an array of {size} bytes in a frame of {len(chunk)}")
        array = np.frombuffer(chunk, dtype, count=size // dtype.itemsize, offset=start) if size else np.empty(0, dtype)
        array.flags.writeable = False
        return array.reshape(shape)

    def end(self) -> None:
        """There are no further arrays."""
        if self._offset != len(self._small) or next(self._large, None) is not None:
            raise WireError("bytes that belong to no array")


def _form(form: Any) -> tuple[np.dtype[Any], list[int], int]:
    match form:
        case [str() as code, *shape] if code in _CODES and len(shape) <= _MAX_DIMENSIONS:
            if all(type(n) is int and 0 <= n <= LIMITS.message for n in shape):
                return _CODES[code], shape, _CODES[code].itemsize * math.prod(shape)
    raise WireError(f"an array of the form {str(form)[:80]}")
