"""The collective, over real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rings import TOKEN, at_once, ring

from elasticdl_nb.runtime.allreduce import door
from elasticdl_nb.runtime.allreduce import ring as ring_module
from elasticdl_nb.runtime.allreduce.collective import RingBroken
from elasticdl_nb.runtime.allreduce.connect import Listener
from elasticdl_nb.runtime.allreduce.door import HANDSHAKE_LIMIT, MOST_GUESTS
from elasticdl_nb.runtime.protocol.network import Network


@pytest.fixture(scope="module", params=[{}, {"encrypt": True}, {"bind": "::1"}], ids=["plain", "encrypted", "IPv6"])
def network(request: pytest.FixtureRequest) -> Network:
    return Network.at(**{"bind": "127.0.0.1", **request.param})


@pytest.fixture(scope="module")
def rings_of(network: Network) -> object:
    made: dict[int, tuple[object, list[object]]] = {}

    def of(world: int) -> list[object]:
        if world not in made:
            context = ring(world, network)
            made[world] = (context, context.__enter__())
        return made[world][1]

    yield of
    for context, _ in made.values():
        context.__exit__(None, None, None)


@settings(max_examples=40, deadline=None)
@given(world=st.integers(2, 5), length=st.integers(0, 40_000), seed=st.integers(0, 99), dtype=st.sampled_from("fd"))
def test_sums_are_right_and_the_same_everywhere(rings_of, world: int, length: int, seed: int, dtype: str) -> None:
    random = np.random.default_rng(seed)
    values = [random.normal(size=length).astype(dtype) for _ in range(world)]
    expected = np.sum(values, axis=0)
    ranks = rings_of(world)
    at_once([lambda r=r: ranks[r].allreduce(values[r]) for r in range(world)])
    for one in values:
        np.testing.assert_allclose(one, expected, rtol=1e-5, atol=1e-5)
        assert one.tobytes() == values[0].tobytes()


@pytest.mark.parametrize("world", [2, 3])
def test_sums_of_many_segments(rings_of, monkeypatch: pytest.MonkeyPatch, world: int) -> None:
    monkeypatch.setattr(ring_module, "SEGMENT", 1000)
    values = [np.arange(100_003, dtype=np.float32) * (rank + 1) for rank in range(world)]
    expected = np.sum(values, axis=0)
    ranks = rings_of(world)
    for _ in range(3):
        copies = [one.copy() for one in values]
        at_once([lambda r=r, c=copies: ranks[r].allreduce(c[r]) for r in range(world)])
        for one in copies:
            np.testing.assert_allclose(one, expected, rtol=1e-6)


@pytest.mark.parametrize(("compression", "half", "rough"), [
    ("float16", np.float16, 2e-3), ("bfloat16", ml_dtypes.bfloat16, 2e-2),
])  # fmt: skip
def test_compressed_sums_are_rounded_alike_everywhere_and_exact_ones_not_at_all(compression, half, rough) -> None:
    random = np.random.default_rng(0)
    values = [random.normal(size=50_000).astype(np.float32) for _ in range(3)]
    expected = np.sum(values, axis=0)
    with ring(3, compression=compression) as ranks:
        rounded = [one.copy() for one in values]
        at_once([lambda r=r: ranks[r].allreduce(rounded[r]) for r in range(3)])
        exact = [one.copy() for one in values]
        at_once([lambda r=r: ranks[r].allreduce(exact[r], exact=True) for r in range(3)])
    for one, other in zip(rounded, exact, strict=True):
        np.testing.assert_allclose(one, expected, rtol=rough, atol=rough * 3)
        np.testing.assert_allclose(other, expected, rtol=1e-5, atol=1e-5)
        assert one.tobytes() == rounded[0].tobytes() and other.tobytes() == exact[0].tobytes()
    assert np.array_equal(rounded[0].astype(half).astype(np.float32), rounded[0])


def test_gathers_and_broadcasts(rings_of) -> None:
    ranks = rings_of(4)
    gathered = at_once([lambda r=r: ranks[r].gather(bytes([r] * 7)) for r in range(4)])
    assert gathered == [[bytes([r] * 7) for r in range(4)]] * 4
    data = [np.full(3_000_001, r, np.uint8) for r in range(4)]
    at_once([lambda r=r: ranks[r].broadcast(data[r], 2) for r in range(4)])
    assert all((one == 2).all() for one in data)
    at_once([one.barrier for one in ranks])


def test_nobody_leaves_a_barrier_before_all_have_come(rings_of) -> None:
    ranks = rings_of(3)
    come: list[int] = []

    def late() -> None:
        time.sleep(0.1)
        come.append(2)
        ranks[2].barrier()

    def early(rank: int) -> list[int]:
        ranks[rank].barrier()
        return list(come)

    assert at_once([lambda: early(0), lambda: early(1), late])[:2] == [[2], [2]]


def test_abandoning_a_round_makes_it_fail_everywhere(network: Network) -> None:
    with ring(3, network) as ranks:
        values = [np.ones(1_000_000, np.float32) for _ in range(3)]

        def call(rank: int) -> str:
            with pytest.raises(RingBroken) as caught:
                ranks[rank].allreduce(values[rank])
                ranks[rank].barrier()
            ranks[rank].abort()  # as a worker does, on which its own neighbours depend
            return str(caught.value)

        def give_up() -> str:
            time.sleep(0.1)
            ranks[2].abort()
            return call(2)

        reasons = at_once([lambda: call(0), lambda: call(1), give_up])
    assert reasons[2] == "the round was abandoned"


def test_a_neighbour_that_is_silent_is_given_up(network: Network) -> None:
    with ring(2, network, wait_limit=0.2) as ranks:
        with pytest.raises(RingBroken, match="silent"):
            ranks[0].gather(b"x")


def test_a_neighbour_that_takes_nothing_is_given_up(network: Network) -> None:
    with ring(2, network, wait_limit=0.5) as ranks:
        with pytest.raises(RingBroken):
            ranks[0].broadcast(np.zeros(100_000_000, np.uint8), 0)


def refused(listener: Listener, generation: int, addresses: list[str], rank: int = 0) -> None:
    with pytest.raises(RingBroken):
        listener.connect(generation, rank, addresses, limit=3.0)
    listener.close()


def test_who_waits_for_a_sender_that_is_closed_is_told() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = ring_module._Sender(ours)
        sender.close()
        with pytest.raises(OSError, match="closed"):
            sender.drain()


def test_strangers_older_generations_and_idlers_are_turned_away(network: Network) -> None:
    a, b, stranger = (Listener(token, network) for token in (TOKEN, TOKEN, "another secret"))
    addresses = [a.address, b.address]
    with socket.create_connection((network.bind, int(b.address.rpartition(":")[2]))) as idler:
        idler.sendall(b"\0" * 100)
        short = {"limit": 10.0}
        ghosts = [
            threading.Thread(target=lambda: refused(stranger, 5, addresses)),
            threading.Thread(target=lambda: refused(Listener(TOKEN, network), 4, addresses)),
        ]
        for ghost in ghosts:
            ghost.start()
        time.sleep(0.2)
        ranks = at_once([lambda: a.connect(5, 0, addresses, **short), lambda: b.connect(5, 1, addresses, **short)])
        assert at_once([lambda: ranks[0].gather(b"0"), lambda: ranks[1].gather(b"1")]) == [[b"0", b"1"]] * 2
        for ghost in ghosts:
            ghost.join(20)
            assert not ghost.is_alive()
    for one in (*ranks, a, b, stranger):
        one.close()


def test_callers_who_say_nothing_keep_nobody_waiting(network: Network) -> None:
    """More of them than may wait at once; some say nothing, others say it byte by byte, or a lot."""
    a, b = (Listener(TOKEN, network) for _ in range(2))
    addresses = [a.address, b.address]
    place = (network.bind, int(b.address.rpartition(":")[2]))
    with ExitStack() as stack:
        callers = [stack.enter_context(socket.create_connection(place)) for _ in range(40)]
        connecting = threading.Thread(target=lambda: refused(b, 5, addresses, 1))  # empties the queue
        connecting.start()
        callers += [stack.enter_context(socket.create_connection(place)) for _ in range(MOST_GUESTS + 20)]
        connecting.join()
        b = Listener(TOKEN, network)
        addresses[1] = b.address
        place = (network.bind, int(b.address.rpartition(":")[2]))
        for number in range(40):
            caller = stack.enter_context(socket.create_connection(place))
            caller.sendall(b"\0" * (number * 1000))
        begun = time.monotonic()
        ranks = at_once([lambda: a.connect(5, 0, addresses), lambda: b.connect(5, 1, addresses)])
        assert time.monotonic() - begun < HANDSHAKE_LIMIT
        for one in (*ranks, a, b):
            one.close()


def test_a_caller_has_only_its_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "HANDSHAKE_LIMIT", 0.3)
    listener = Listener(TOKEN)
    host, _, port = listener.address.rpartition(":")
    with socket.create_connection((host, int(port))) as caller:
        caller.settimeout(2.0)
        connecting = threading.Thread(target=lambda: refused(listener, 5, [listener.address, listener.address], 1))
        monkeypatch.setattr(Listener, "_dial", lambda *_: socket.socket())
        connecting.start()
        assert len(caller.recv(100)) == 16
        assert caller.recv(100) == b""  # closed, while the one who is waited for may still come
        assert connecting.is_alive()
        connecting.join()


def test_connecting_ends_when_it_is_given_up_or_takes_too_long() -> None:
    a, b = Listener(TOKEN), Listener(TOKEN)
    addresses = [a.address, b.address]
    with pytest.raises(RingBroken):
        a.connect(1, 0, addresses, limit=0.3)
    begun = time.monotonic()
    with pytest.raises(RingBroken):
        a.connect(1, 0, addresses, given_up=lambda: time.monotonic() > begun + 0.2)
    b.close()
    with pytest.raises(RingBroken, match="is unreachable"):
        a.connect(2, 0, addresses)
    a.close()


@pytest.mark.parametrize("plain", [0, 1])
def test_who_encrypts_does_not_meet_who_does_not(plain: int) -> None:
    encrypted = Network.at("127.0.0.1", encrypt=True)
    listeners = [Listener(TOKEN, Network() if rank == plain else encrypted) for rank in range(2)]
    addresses = [listener.address for listener in listeners]
    at_once([lambda r=r: refused(listeners[r], 1, addresses, r) for r in range(2)])


def test_nothing_can_be_read_on_the_way(network: Network) -> None:
    """A tap between the two: what it sees is not what was sent, where it is encrypted."""
    secret = b"the gradient of a private model" * 10
    listeners = [Listener(TOKEN, network) for _ in range(2)]
    with tap(listeners[1].address, network.bind) as (address, seen):
        addresses = [listeners[0].address, address]
        ranks = at_once([lambda r=r: listeners[r].connect(1, r, addresses) for r in range(2)])
        assert at_once([lambda r=r: ranks[r].gather(secret) for r in range(2)]) == [[secret, secret]] * 2
        for one in (*ranks, *listeners):
            one.close()
    assert (secret in b"".join(seen)) != network.encrypted


@contextmanager
def tap(address: str, host: str) -> Iterator[tuple[str, list[bytes]]]:
    """Yield the address of something that passes everything on to another, and what came to pass."""
    before, _, port = address.rpartition(":")
    seen: list[bytes] = []

    def pass_on(source: socket.socket, target: socket.socket) -> None:
        while data := source.recv(1 << 16):
            seen.append(data)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)

    def meet() -> None:
        caller, _ = server.accept()
        with caller, socket.create_connection((host, int(port))) as called:
            back = threading.Thread(target=pass_on, args=(called, caller))
            back.start()
            pass_on(caller, called)
            back.join()

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        thread = threading.Thread(target=meet)
        thread.start()
        yield f"{before}:{server.getsockname()[1]}", seen
        thread.join(20)
        assert not thread.is_alive()


def test_one_alone_needs_no_socket() -> None:
    listener = Listener(TOKEN)
    alone = listener.connect(1, 0, [listener.address])
    values = np.ones(3, np.float32)
    alone.allreduce(values)
    assert values.tolist() == [1, 1, 1] and alone.gather(b"a") == [b"a"] and alone.fileno() == -1
    listener.close()
