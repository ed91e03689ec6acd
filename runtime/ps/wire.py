"""Messages between workers and parameter servers, as frames of bytes.

A message is a header of fixed size, a body (JSON: the request or answer, and the form of each array), and the arrays'
bytes, little-endian. Small arrays share one frame, each padded to 8 bytes; every large one has its own frame,
which needs no copying. The header ends with a MAC of header and body under a key of the job, so that messages from
outside the job are dropped before their bodies are parsed.

Pure: nothing here knows about sockets.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


@dataclass(frozen=True)
class Message:
    """`request` numbers a sender's requests; an answer carries the same. `meta` holds plain JSON values."""

    kind: Kind
    generation: int
    request: int
    meta: Mapping[str, Any] = field(default_factory=dict)
    arrays: Sequence[NDArray[Any]] = ()


def frame_key(token: str) -> bytes:
    """Return the key for the MACs, derived from the job's token."""
    return hashlib.blake2b(token.encode(), digest_size=32, person=b"elasticdl frame").digest()


# ------------------------------------------------------------ writing


def encode(message: Message, key: bytes) -> list[Buffer]:
    """Return the frames of a message; arrays are float32, int64, int32 or uint16.

    Large ones must not change until it is sent.
    """
    forms, small, large = [], [], []
    for array in message.arrays:
        code = _NAMES[array.dtype]
        flat = np.ascontiguousarray(array, _CODES[code]).reshape(-1).view(np.uint8)
        forms.append([code, *array.shape])
        if flat.nbytes >= OWN_FRAME:
            large.append(flat.data)
        else:
            small.append(flat.tobytes())
            small.append(bytes(-flat.nbytes % 8))
    body = json.dumps([message.meta, forms], separators=(",", ":")).encode()
    fixed = HEADER.pack(MAGIC, VERSION, message.kind, message.generation, message.request)
    return [fixed + _mac(fixed, body, key), body, b"".join(small), *large]


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


def decode(frames: Sequence[Buffer], key: bytes, limits: Limits = LIMITS) -> Message:
    """Return the message in these frames; its arrays are read-only views of them. Raises WireError.

    It is TooLarge if the message is one of the job's.
    """
    if not _FIRST_ARRAYS < len(frames) <= LIMITS.frames:
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
        meta, forms = json.loads(body)
        known = Kind(kind)
    except (ValueError, TypeError, RecursionError) as error:
        raise WireError(f"kind {kind} with a body that cannot be read: {error}") from None
    if not isinstance(meta, dict) or not isinstance(forms, list):
        raise WireError("a body with an unexpected structure")
    return Message(known, generation, request, meta, _arrays(forms, frames[_FIRST_ARRAYS:]))


def _arrays(forms: list[Any], chunks: Sequence[Buffer]) -> list[NDArray[Any]]:
    small, large, offset, arrays = chunks[0], iter(chunks[1:]), 0, []
    for form in forms:
        dtype, shape, size = _form(form)
        if size >= OWN_FRAME:
            chunk, start = next(large, b""), 0
        else:
            chunk, start = small, offset
            offset += size + -size % 8
        if start + size > len(chunk) or (chunk is not small and size != len(chunk)):
            raise WireError(f"an array of {size} bytes in a frame of {len(chunk)}")
        array = np.frombuffer(chunk, dtype, count=size // dtype.itemsize, offset=start) if size else np.empty(0, dtype)
        array.flags.writeable = False
        arrays.append(array.reshape(shape))
    if offset != len(small) or next(large, None) is not None:
        raise WireError("bytes that belong to no array")
    return arrays


def _form(form: Any) -> tuple[np.dtype[Any], list[int], int]:
    match form:
        case [str() as code, *shape] if code in _CODES and len(shape) <= _MAX_DIMENSIONS:
            if all(type(n) is int and 0 <= n <= LIMITS.message for n in shape):
                return _CODES[code], shape, _CODES[code].itemsize * math.prod(shape)
    raise WireError(f"an array of the form {str(form)[:80]}")
