import contextlib
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from elasticdl_nb.runtime.ps.wire import (
    HEADER,
    OWN_FRAME,
    PIECE,
    Kind,
    Limits,
    Message,
    WireError,
    _mac,
    cut,
    decode,
    encode,
    frame_key,
    joined,
)

KEY = frame_key("secret")
TENSORS = st.one_of(
    arrays.arrays(np.float32, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9)),
    arrays.arrays(np.int64, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9)),
    arrays.arrays(np.int32, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9)),
    arrays.arrays(np.uint16, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9)),
    st.integers(0, 2).map(lambda more: np.arange(OWN_FRAME // 4 - 1 + more, dtype=np.float32)),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=9,
)


def sent(frames):
    """What arrives: other memory, which nobody may write to."""
    return [memoryview(bytes(frame)) for frame in frames]


def signed(body, kind=Kind.STEP, version=1):
    fixed = HEADER.pack(b"EDPS", version, kind, 0, 1)
    return [fixed + _mac(fixed, body, KEY), body]


@given(
    st.sampled_from(Kind), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.dictionaries(st.text(), JSON),
    st.lists(TENSORS, max_size=6),
)  # fmt: skip
def test_what_is_written_is_read(kind, generation, request, meta, values):
    read = decode(sent(encode(Message(kind, generation, request, meta, values), KEY)), KEY)
    assert (read.kind, read.generation, read.request, read.meta) == (kind, generation, request, meta)
    assert len(read.arrays) == len(values)
    for mine, theirs in zip(values, read.arrays, strict=True):
        assert mine.dtype == theirs.dtype and mine.shape == theirs.shape and mine.tobytes() == theirs.tobytes()
        assert not theirs.flags.writeable


def test_large_arrays_are_not_copied():
    value = np.zeros(OWN_FRAME, np.float32)
    frames = encode(Message(Kind.STEP, 0, 1, {}, [value]), KEY)
    assert np.shares_memory(np.frombuffer(frames[3], np.uint8), value)
    assert np.shares_memory(decode(frames, KEY).arrays[0], value)


@settings(max_examples=300)
@given(st.lists(TENSORS, max_size=3), st.randoms(use_true_random=False))
def test_damaged_messages_are_refused_or_differ_only_in_values(values, choice: random.Random):
    good = encode(Message(Kind.STEP, 3, 7, {"a": 1}, values), KEY)
    frames = [bytearray(bytes(frame)) for frame in good]
    match choice.randrange(5):
        case 0:
            frames.pop(choice.randrange(len(frames)))
        case 1:
            frames.insert(choice.randrange(len(frames) + 1), bytearray(choice.randbytes(8)))
        case 2:
            frame = choice.choice(frames)
            del frame[choice.randrange(len(frame) + 1) :]
        case 3:
            choice.choice(frames).extend(b"12345678")
        case 4:
            frame = choice.choice(frames)
            if frame:
                frame[choice.randrange(len(frame))] ^= 1 << choice.randrange(8)
    try:
        read = decode(sent(frames), KEY)
    except WireError:
        return
    assert (read.kind, read.generation, read.request, read.meta) == (Kind.STEP, 3, 7, {"a": 1})
    assert [array.shape for array in read.arrays] == [value.shape for value in values]


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=80), max_size=5))
def test_noise_is_refused(frames):
    with pytest.raises(WireError):
        decode(frames, KEY)


@settings(max_examples=300)
@given(JSON, st.lists(st.binary(max_size=80), min_size=1, max_size=3))
def test_nonsense_from_a_peer_with_the_token_is_read_or_refused(body, chunks):
    import json

    with contextlib.suppress(WireError):
        decode([*signed(json.dumps(body).encode()), *chunks], KEY)


@pytest.mark.parametrize(
    ("frames", "problem"),
    [
        ([*signed(b"[{},[]]"), b""][:2], "2 frames"),
        ([b"x", b"[{},[]]", b""], "a header of 1 bytes"),
        ([*signed(b"[{},[]]", kind=99), b""], "kind 99"),
        ([*signed(b"[{},[]]", version=2), b""], "version 2"),
        ([*signed(b"[{},["), b""], "cannot be read"),
        ([*signed(b"[" * 100_000), b""], "cannot be read"),
        ([*signed(b"[[],[]]"), b""], "unexpected structure"),
        ([*signed(b'[{},[["f",-1]]]'), b""], "form"),
        ([*signed(b'[{},[["O",1]]]'), b"12345678"], "form"),
        ([*signed(b'[{},[["f",true]]]'), b"12345678"], "form"),
        ([*signed(b'[{},[["f",4000000000,4000000000,4000000000]]]'), b""], "in a frame of 0"),
        ([*signed(b'[{},[["f",16384]]]'), b"", bytes(65535)], "65536 bytes in a frame of 65535"),
        ([*signed(b"[{},[]]"), b"12345678"], "belong to no array"),
        ([*signed(b"[{},[]]"), b"", b""], "belong to no array"),
    ],
)
def test_the_reason_of_a_refusal_is_told(frames, problem):
    with pytest.raises(WireError, match=problem):
        decode(frames, KEY)


def test_another_jobs_message_is_refused():
    with pytest.raises(WireError, match="does not carry the job's token"):
        decode(encode(Message(Kind.STEP, 0, 1), frame_key("other")), KEY)


def test_large_messages_are_refused_before_they_are_read():
    limits = Limits(frame=1 << 20, message=2 << 20, frames=8, body=1000)
    part = bytes(1 << 20)
    tracemalloc.start()
    try:
        for frames in ([b"", b"", part + b"1"], [b"", b"", part, part, b"1"], [b"", part, b""], [b""] * 9):
            with pytest.raises(WireError):
                decode(frames, KEY, limits)
        assert tracemalloc.get_traced_memory()[1] < 3 << 20
    finally:
        tracemalloc.stop()


def test_a_claimed_size_allocates_nothing():
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            decode([*signed(b'[{},[["f",1000000000]]]'), b"", bytes(8)], KEY)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 5 * PIECE + 7])
def test_frames_that_were_cut_are_joined(size):
    frames = [b"a" * size, b"", bytes(range(256)) * (size // 256), b"end"]
    pieces = cut(frames)
    assert max(len(piece) for piece in pieces) <= PIECE
    assert [bytes(frame) for frame in joined(pieces)] == frames
    if size >= PIECE:
        with pytest.raises(WireError, match="without its end"):
            joined(pieces[:1])
