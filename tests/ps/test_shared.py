"""Messages whose arrays are in memory that worker and server share."""

import contextlib
import gc
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running_servers import DENSE, TOKEN, ServerProcess, client_of, running

from elasticdl_nb.runtime.parameters.api import Push, ServersLost, StepRequest
from elasticdl_nb.runtime.parameters.store import UpdatePolicy
from elasticdl_nb.runtime.protocol.network import Network
from elasticdl_nb.runtime.ps import segment, server
from elasticdl_nb.runtime.ps.segment import Opened, OpenSegments, Segment
from elasticdl_nb.runtime.ps.wire import (
    HEADER,
    Kind,
    Limits,
    Message,
    Shared,
    TooLarge,
    WireError,
    _mac,
    decode,
    encode,
    extent,
    frame_key,
    place,
)

KEY = frame_key(TOKEN)
IDS = np.arange(20_000)

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no files without names")

FLOATS = st.lists(st.integers(0, 40), max_size=5).map(lambda sizes: [np.arange(n, dtype=np.float32) for n in sizes])
PIECES = st.one_of(
    FLOATS,
    st.integers(0, 50).map(lambda n: np.arange(n)),
    st.integers(0, 50).map(lambda n: np.arange(3 * n, dtype=np.float32).reshape(n, 3)),
    st.integers(0, 50).map(lambda n: np.arange(n, dtype=np.int32)),
)


def gradients(seed=0, count=20_000):
    rng = np.random.default_rng(seed)
    dense = {name: rng.normal(size=value.shape).astype(np.float32) for name, value in DENSE.items()}
    return Push(dense, {"u": (IDS[:count], rng.normal(size=(count, 4)).astype(np.float32))}, 1 << 40)


def steps(client, count=5):
    """Some large steps, and all that was answered; a few arrays are small."""
    seen = []
    for seed in range(count):
        push = gradients(seed)
        result = client.step(StepRequest(push, lookup={"u": IDS[::-1].copy(), "t": IDS[:3]}))
        seen += [np.array(one) for one in (*result.dense.values(), *result.rows.values())]
    return seen


def segment_of(client, number=0):
    return client._transport._servers[number].segment


def opened(servers):
    return len(servers._segments._opened)


# ------------------------------------------------------------ the form of messages


@given(st.lists(PIECES, max_size=5))
def test_what_is_placed_is_read(pieces):
    memory = np.zeros(extent(pieces), np.uint8)
    place(pieces, memory)
    message = Message(Kind.STEP, 1, 2, {"a": 1}, pieces, Shared(3, 64, 128, 10))
    frames = encode(message, KEY)
    assert len(frames) == 2
    read = decode(frames, KEY, memory=lambda request, shared: memory if (request, shared.start) == (2, 64) else None)
    assert read.shared == message.shared and len(read.arrays) == len(pieces)
    unshared = decode(encode(Message(Kind.STEP, 1, 2, {"a": 1}, pieces, Shared(3, None, 128, 10)), KEY), KEY)
    assert unshared.shared == Shared(3, None, 128, 10)
    for given_, *both in zip(pieces, read.arrays, unshared.arrays, strict=True):
        for one in both:
            assert isinstance(one, list) == isinstance(given_, list)
            for mine, theirs in zip(*([x] if isinstance(x, np.ndarray) else x for x in (given_, one)), strict=True):
                assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
                assert mine.tobytes() == theirs.tobytes() and not theirs.flags.writeable


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'[{},[["f",1]],[1,0,0,0]]', "memory that is not there"),
        (b'[{},[["f",17]],[7,0,0,0]]', "an array of 68 bytes in memory of 64"),
        (b'[{},[["p",9,8]],[7,0,0,0]]', "an array of 68 bytes in memory of 64"),
        (b'[{},[["i",1],["i",1]],[7,0,0,0]]', "an array of 8 bytes in memory of 0"),
        (b'[{},[["p",-1,2]],[7,0,0,0]]', "form"),
        (b'[{},[["f",4000000000,4000000000,4000000000]],[7,0,0,0]]', "in memory of 64"),
        (b"[{},[],[7,0,0,-1]]", "arrays in"),
        (b"[{},[],[7,0,0]]", "arrays in"),
        (b'[{},[],["7",0,0,0]]', "arrays in"),
        (b"[{},[],[7,null,0,0]]", "2 frames"),
        (b"[{},[],[7,0,0,0],1]", "unexpected structure"),
        (b"[{}]", "cannot be read"),
    ],
)
def test_the_reason_of_a_refusal_is_told(body, problem):
    memory = np.zeros(64, np.uint8)
    fixed = HEADER.pack(b"EDPS", 1, Kind.STEP, 0, 1)
    with pytest.raises(WireError, match=problem):
        decode([fixed + _mac(fixed, body, KEY), body], KEY, memory=lambda _, at: memory if at.segment == 7 else None)


def test_what_is_too_large_in_a_socket_is_too_large_in_memory():
    value = np.zeros(1 << 19, np.float32)
    frames = encode(Message(Kind.STEP, 0, 9, {}, [value], Shared(1, 0)), KEY)
    with pytest.raises(TooLarge) as refused:
        decode(frames, KEY, Limits(frame=1 << 20, message=1 << 20), memory=lambda *_: value.view(np.uint8))
    assert refused.value.request == 9 and refused.value.size > 1 << 20


NUMBERS = st.one_of(st.none(), st.booleans(), st.integers(-5, 1 << 40), st.integers(0, 200), st.text(max_size=2))


@settings(max_examples=300)
@given(st.lists(NUMBERS, max_size=5), st.lists(st.lists(st.sampled_from(["f", "p", "i", "n", 0, 1, 5, -1, 1 << 33]))))
def test_nonsense_from_a_peer_with_the_token_is_read_or_refused(shared, forms):
    body = json.dumps([{}, forms, shared]).encode()
    fixed = HEADER.pack(b"EDPS", 1, Kind.STEP, 0, 1)
    with contextlib.suppress(WireError):
        decode([fixed + _mac(fixed, body, KEY), body], KEY, memory=lambda *_: np.zeros(100, np.uint8))


# ------------------------------------------------------------ segments


def test_blocks_are_used_again_once_their_last_array_is_gone():
    mine = Segment(1 << 20)
    block = mine.block(1000)
    start, array = block.start, np.asarray(block)[10:].view(np.uint8)
    del block
    assert mine.block(1000).start != start
    array[:] = 1
    del array
    assert mine.block(1000).start == start
    assert mine.block(2 << 20) is None
    mine.close()


def test_a_segment_is_opened_by_who_was_told_of_it_and_no_other_file_is(tmp_path):
    mine = Segment(1 << 20)
    offer = mine.offer()
    theirs = Opened(**offer)
    np.asarray(mine.block(100))[:] = 5
    assert theirs.memory[64:164].tolist() == [5] * 100 and not theirs.is_left
    segments = OpenSegments()
    other, file = os.memfd_create("other"), os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    unsealed = os.memfd_create("elasticdl-messages")
    os.ftruncate(unsealed, 4096)
    read, write = os.pipe()
    try:
        for wrong in (
            {"secret": "00" * 32}, {"secret": "x"}, {"secret": ""}, {"file": file}, {"file": other}, {"file": unsealed},
            {"file": read}, {"file": write}, {"file": 9999}, {"process": 1 << 30}, {"process": "self"},
        ):  # fmt: skip
            assert segments.open({**offer, **wrong}) == 0
    finally:
        for one in (other, file, unsealed, read, write):
            os.close(one)
    number = segments.open(offer)
    assert number and segments.bytes_from(number, 64)[0] == 5
    assert segments.bytes_from(number, 65) is None and segments.bytes_from(number + 1, 64) is None
    assert segments.bytes_from(number, 2 << 20) is None
    with pytest.raises(OSError, match="not permitted"):
        os.ftruncate(mine._file, 0)
    mine.close()
    assert theirs.is_left
    again = Segment(1 << 20)
    assert segments.open(again.offer()) == number + 1 and segments.bytes_from(number, 64) is None
    again.close()
    segments.close()
    theirs.close()


# ------------------------------------------------------------ servers


@pytest.mark.parametrize("count", [1, 2])
def test_shared_memory_changes_no_value(count, monkeypatch):
    placed = []
    monkeypatch.setattr(server, "place", lambda pieces, memory: placed.append(place(pieces, memory)))
    seen = []
    for shares in (True, False):
        with running(count) as servers, client_of(servers, shares_memory=shares, source="w") as client:
            seen.append(steps(client))
            assert all((segment_of(client, number) is not None) == shares for number in range(count))
            assert (len(placed) >= 5 * count) == shares
            placed.clear()
    for shared, sent in zip(*seen, strict=True):
        np.testing.assert_array_equal(shared, sent)


def test_answers_stay_as_they_are_and_memory_is_used_again():
    with running() as servers, client_of(servers, source="w") as client:
        first = client.step(StepRequest(gradients(), lookup={"u": IDS}))
        kept = [*first.dense.values(), *first.rows.values()]
        copies = [np.array(one) for one in kept]
        gc.disable()  # nothing waits for it to give memory back
        try:
            steps(client, 6)
            taken = segment_of(client)._committed
            steps(client, 20)
            assert segment_of(client)._committed == taken
        finally:
            gc.enable()
        for one, copy in zip(kept, copies, strict=True):
            np.testing.assert_array_equal(one, copy)


def test_gradients_that_wait_for_others_are_not_overwritten():
    results = []
    for shares in (True, False):
        policy = UpdatePolicy(grads_to_wait=2, version_tolerance=5)
        with running(1, policy) as servers, client_of(servers, shares_memory=shares, source="w") as client:
            client.step(StepRequest(gradients(1)))
            for seed in range(2, 6):  # in the same memory
                client.assign({"large": np.full(600_000, seed, np.float32)})
                client.lookup("u", IDS)
            client.step(StepRequest(gradients(2)))
            results.append([client.pull()[0]["large"].copy(), client.lookup("u", IDS).copy()])
    for shared, sent in zip(*results, strict=True):
        np.testing.assert_array_equal(shared, sent)


def test_where_memory_is_full_messages_travel_through_the_socket(monkeypatch):
    with running() as servers, client_of(servers, shares_memory=False) as client:
        expected = steps(client)

    def full(*_):
        raise OSError(28, "No space left on device")

    with running() as servers, client_of(servers) as client:
        monkeypatch.setattr(os, "posix_fallocate", full)
        for mine, theirs in zip(steps(client), expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    with running() as servers, client_of(servers) as client:  # from the start
        assert segment_of(client) is None
        steps(client, 1)


def test_messages_larger_than_the_memory_travel_through_the_socket(monkeypatch):
    with running() as servers, client_of(servers, shares_memory=False) as client:
        expected = steps(client)
    monkeypatch.setattr(segment.Segment.__init__, "__defaults__", (1 << 20,))
    with running() as servers, client_of(servers) as client:
        assert len(segment_of(client).memory) == 1 << 20
        for mine, theirs in zip(steps(client), expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_a_server_that_cannot_open_it_gets_its_messages_through_the_socket(monkeypatch):
    monkeypatch.setattr(os, "readlink", lambda path: "/dev/null")
    with running() as servers, client_of(servers) as client:
        assert segment_of(client) is None
        steps(client, 1)


def test_between_machines_nothing_is_shared():
    with running(network=Network.at("127.0.0.2", encrypt=True)) as servers, client_of(servers) as client:
        assert segment_of(client) is None
        steps(client, 1)


def test_nothing_is_left_when_a_connection_ends():
    gc.collect()
    before = set(os.listdir("/proc/self/fd"))
    with running() as servers:
        for _ in range(3):
            with client_of(servers) as client:
                steps(client, 1)
        assert opened(servers[0]) == 1
    gc.collect()
    assert not {fd for fd in set(os.listdir("/proc/self/fd")) - before if "elasticdl" in _target(fd)}


def _target(fd):
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/self/fd/{fd}")
    return ""


# ------------------------------------------------------------ deaths

WORKER = """
import sys, numpy as np
sys.path[:0] = [sys.argv[2]]
from running_servers import *
from test_shared import IDS, gradients
from elasticdl_nb.runtime.parameters.api import StepRequest
client = ParameterClient([sys.argv[1]], TOKEN, source=str(sys.argv[3]))
client.initialize(SGD, DENSE, TABLES)
push = gradients()
while True:
    client.step_async(StepRequest(push, lookup={"u": IDS}))
    client.flush()
    print(flush=True)
"""


def maps(pid):
    return Path(f"/proc/{pid}/maps").read_text().count("memfd:elasticdl-messages")


def test_workers_may_be_killed_at_any_instant_and_nothing_is_left():
    process = ServerProcess()
    choice = random.Random(0)
    try:
        for number in range(3):
            command = [sys.executable, "-c", WORKER, process.address, os.path.dirname(__file__), str(number)]
            worker = subprocess.Popen(command, stdout=subprocess.PIPE)
            for _ in range(3):
                assert worker.stdout.readline()
            time.sleep(choice.uniform(0, 0.03))
            worker.kill()
            worker.wait()
            worker.stdout.close()
            assert maps(process.process.pid) == 1
        with client_of([process]) as client:
            result = client.step(StepRequest(lookup={"u": IDS}))
            assert np.isfinite(result.rows["u"]).all() and maps(process.process.pid) == 1
            # Every step is there as a whole, or not at all.
            moved = result.dense["large"] - DENSE["large"]
            one = -0.5 * gradients().dense["large"]
            np.testing.assert_allclose(moved, one * result.version, rtol=1e-3, atol=1e-3)
    finally:
        process.end()


def test_a_server_may_be_killed_at_any_instant():
    choice = random.Random(1)
    for _ in range(2):
        process = ServerProcess()
        try:
            with client_of([process], source="w") as client:
                steps(client, 1)
                for number in range(50):
                    client.step_async(StepRequest(gradients(count=2000), lookup={"u": IDS}))
                    if number == 3:
                        time.sleep(choice.uniform(0, 0.02))
                        process.signal(signal.SIGKILL)
                with pytest.raises(ServersLost):
                    client.flush()
        finally:
            process.end()


def test_a_server_that_was_given_up_reads_what_it_was_sent():
    """A message is still in its socket when it goes on after a pause, and so are the arrays of that message."""
    process = ServerProcess()
    try:
        with client_of([process], timeout=1.0) as client:
            steps(client, 1)
            before = client.step(StepRequest()).dense["large"].copy()
            process.signal(signal.SIGSTOP)
            with pytest.raises(ServersLost):
                client.step(StepRequest(gradients(1)))
            for seed in range(2, 5):
                with pytest.raises(ServersLost):
                    client.step(StepRequest(gradients(seed)))
            process.signal(signal.SIGCONT)
            with client_of([process]) as another:
                moved = another.step(StepRequest()).dense["large"] - before
            np.testing.assert_allclose(moved, -0.5 * gradients(1).dense["large"], rtol=1e-3, atol=1e-3)
    finally:
        process.end()


def test_a_stopped_worker_keeps_its_memory():
    """Whoever pauses is no one who has left."""
    process = ServerProcess()
    command = [sys.executable, "-c", WORKER, process.address, os.path.dirname(__file__), "1"]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert worker.stdout.readline()
        os.kill(worker.pid, signal.SIGSTOP)
        with client_of([process]) as client:
            steps(client, 1)
            assert maps(process.process.pid) == 2
        os.kill(worker.pid, signal.SIGCONT)
        for _ in range(5):
            assert worker.stdout.readline()
    finally:
        worker.kill()
        worker.wait()
        worker.stdout.close()
        process.end()
