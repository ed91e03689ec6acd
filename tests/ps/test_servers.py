import contextlib
import gc
import logging
import random
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import zmq
from running_servers import DENSE, SGD, TABLES, TOKEN, ServerProcess, client_of, running

from elasticdl_nb.runtime.errors import DataError, JobFailed
from elasticdl_nb.runtime.parameters.api import Push, ServersLost, StepRequest
from elasticdl_nb.runtime.parameters.generations import StoreService
from elasticdl_nb.runtime.parameters.partition import Slice
from elasticdl_nb.runtime.parameters.store import UpdatePolicy
from elasticdl_nb.runtime.parameters.table import TableSpec
from elasticdl_nb.runtime.protocol.network import Network
from elasticdl_nb.runtime.ps import requests, security
from elasticdl_nb.runtime.ps.client import ParameterClient
from elasticdl_nb.runtime.ps.inprocess import InProcessServers
from elasticdl_nb.runtime.ps.security import connect
from elasticdl_nb.runtime.ps.server import ParameterServer
from elasticdl_nb.runtime.ps.transport import Transport
from elasticdl_nb.runtime.ps.wire import Kind, Message, encode, frame_key
from elasticdl_nb.runtime.spec.bounds import Bounds


@pytest.fixture(autouse=True)
def nothing_is_left():
    process = psutil.Process()
    before = {thread.ident for thread in threading.enumerate()}
    yield
    gc.collect()
    left = [thread for thread in threading.enumerate() if thread.ident not in before]
    # Those that end by themselves within moments, and the one that pyzmq keeps for good.
    names = {type(thread).__name__ if "Garbage" in repr(thread) else thread.name for thread in left}
    assert names <= {"gatekeeper", "GarbageCollectorThread"}
    assert [c for c in process.net_connections() if c.status == psutil.CONN_LISTEN] == []


def ones(*shape):
    return np.ones(shape, np.float32)


def pushed(dense=None, rows=None, version=0):
    """A request to push gradients: of the variable b, unless others are given."""
    return StepRequest(Push({"b": ones(3)} if dense is None else dense, rows or {}, version))


def trained(servers):
    """Some steps, and what is there afterwards."""
    rng = np.random.default_rng(0)
    _, version = servers.pull()
    seen = []
    for _ in range(5):
        ids = np.unique(rng.integers(-50, 200, 40))
        dense = {name: rng.normal(size=value.shape).astype(np.float32) for name, value in DENSE.items()}
        rows = {"t": (ids, ones(len(ids), 2)), "u": (ids, rng.normal(size=(len(ids), 4)).astype(np.float32))}
        push = Push(dense, rows, version, sizes={"w": dense["w"] ** 2 * 3})
        result = servers.step(StepRequest(push, lookup={"u": ids[::-1].copy(), "t": ids[:0]}))
        version = result.version
        seen += [result.dense["w"], result.dense["large"], result.rows["u"], result.rows["t"]]
    seen.append(servers.lookup("u", np.arange(-60, 300), create=False))
    for table in ("t", "u"):
        ids, rows = (np.concatenate(parts) for parts in zip(*servers.export(table), strict=True))
        seen += [np.sort(ids), rows[np.argsort(ids)]]
    return version, seen


@pytest.mark.parametrize("count", [1, 2, 3])
def test_servers_do_what_tables_in_this_process_do(count):
    local = InProcessServers()
    local.initialize(SGD, DENSE, TABLES)
    with running(count) as servers, client_of(servers) as client:
        version, seen = trained(client)
    expected_version, expected = trained(local)
    assert version == expected_version
    for mine, theirs in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("count", [1, 2])
def test_servers_count_ids_as_tables_in_this_process_do(count):
    tables = [TableSpec("v", 2, bounds=Bounds(min_count=3))]

    def rows(source):
        source.initialize(SGD, DENSE, tables)
        for ids, seen in (([1, 2, 3, 4], [1, 2, 3, 4]), ([1, 2, 6], [1, 1, 1]), ([1], [1])):
            counts = {"v": np.array(seen, np.int32)}
            source.step(StepRequest(Push({}, {"v": (np.array(ids), ones(len(ids), 2))}, 0, counts=counts)))
        blocks = list(source.export("v"))
        return {key: row.tolist() for ids, block in blocks for key, row in zip(ids.tolist(), block, strict=True)}

    with running(count) as servers, client_of(servers, initialize=False) as client:
        found = rows(client)
    assert found == rows(InProcessServers())
    assert sorted(found) == [1, 2, 3, 4]


def test_the_first_workers_initial_values_count():
    with running(2) as servers, client_of(servers), client_of(servers, initialize=False) as second:
        values = second.initialize(SGD, {name: value + 1 for name, value in DENSE.items()}, TABLES)
        assert all(not value.any() for value in values.values())


def test_values_can_be_assigned():
    with running(2) as servers, client_of(servers) as client:
        client.assign({"b": np.array([1, 2, 3], np.float32)})
        dense, version = client.pull()
        assert (dense["b"].tolist(), version) == ([1, 2, 3], 0)


def test_steps_under_way_end_with_flush():
    with running(2) as servers, client_of(servers) as client:
        futures = [client.step_async(StepRequest(Push({"b": ones(3)}), pull=False)) for _ in range(20)]
        client.flush()
        assert [future.result().version for future in futures] == list(range(1, 21))
        assert client.pull()[0]["b"].tolist() == [-10] * 3


def test_many_threads_share_a_client():
    with running(2) as servers, client_of(servers) as client, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: client.step(pushed()), range(40)))
        assert client.pull()[0]["b"].tolist() == [-20] * 3


def test_whoever_waits_receives_for_all_and_another_goes_on():
    with running(2) as servers, client_of(servers) as client:
        goes_on = [threading.Event() for _ in servers]
        for server, event in zip(servers, goes_on, strict=True):
            server.post(event.wait)
        transport = client._transport
        asked = [transport.request(number, Kind.STATUS, ({}, []), 60.0) for number in (0, 0, 1)]
        waiting = [threading.Thread(target=future.result) for future in asked]
        for number, thread in enumerate(waiting):  # the first has the turn, and the others wait for what it receives
            thread.start()
            while len(transport._waited_for) <= number:
                time.sleep(0.01)
        goes_on[0].set()
        for thread in waiting[:2]:
            thread.join()
        assert not asked[2].done()
        goes_on[1].set()
        waiting[2].join()
        assert asked[2].result(timeout=0).meta["declared"]


def test_an_answer_that_takes_longer_than_one_waits_comes_later():
    with running(1) as servers, client_of(servers) as client:
        goes_on = threading.Event()
        servers[0].post(goes_on.wait)
        asked = client.fetch({}, pull=False)
        with pytest.raises(TimeoutError):
            asked.result(timeout=0.01)
        goes_on.set()
        assert asked.result().version == 0


def test_mistakes_come_back_as_the_errors_they_are():
    with running(2) as servers, client_of(servers) as client:
        with pytest.raises(DataError, match="no embedding named v was declared"):
            client.lookup("v", np.arange(3))
        with pytest.raises(DataError, match="gradients of shape"):
            client.step(pushed({}, {"t": (np.arange(4), ones(4, 3))}))
        failed = client.step_async(pushed({}, {"t": (np.arange(4), ones(4, 3))}))
        with pytest.raises(DataError, match="gradients of shape"):
            client.flush()
        assert failed.done()
        assert client.pull()[1] == 0


def test_a_worker_that_knows_of_other_servers_is_told():
    with running(2) as servers, client_of(servers[:1], initialize=False) as client:
        with pytest.raises(JobFailed, match="a request for server 0 of 1; this is 0 of 2"):
            client.initialize(SGD, DENSE, TABLES)


# ------------------------------------------------------------ synchronous


def test_gradients_count_on_all_servers_or_on_none():
    policy = UpdatePolicy(grads_to_wait=1, version_tolerance=0)
    with running(3, policy) as servers, client_of(servers, synchronous=True) as one:
        with client_of(servers, synchronous=True) as two, ThreadPoolExecutor(2) as pool:

            def steps(client):
                accepted, version = 0, 0
                while accepted < 30:
                    result = client.step(pushed({name: ones(*v.shape) for name, v in DENSE.items()}, version=version))
                    accepted += result.accepted
                    version = result.version
                return accepted

            assert sum(pool.map(steps, [one, two])) == 60
            dense, version = one.pull()
            assert version == 60 and [s["version"] for s in one.status()] == [60] * 3
            assert all((value == -30).all() for value in dense.values())


def test_gradients_that_wait_for_others_are_settled():
    with running(2, UpdatePolicy(grads_to_wait=2)) as servers, client_of(servers, synchronous=True) as client:
        result = client.step(pushed())
        assert (result.accepted, result.version, result.dense["b"].tolist()) == (True, 0, [0, 0, 0])
        assert client.settle() == 1
        assert client.pull()[0]["b"].tolist() == [-0.5] * 3


def test_staleness_is_counted_by_each_server_for_itself():
    with running(2, UpdatePolicy(staleness_modulation=True)) as servers, client_of(servers) as client:
        stray = Transport([server.address for server in servers], TOKEN, 0)
        names = {Slice.parse(key).name for key in servers[1].service.store.pull()} & {"b", "w"}
        for _ in range(7):  # a worker that died between its pushes
            stray.request(1, Kind.STEP, requests.step(StepRequest(Push(), pull=False)), 10).result()
        stray.close()
        _, version = client.pull()
        dense = client.step(pushed({name: ones(*DENSE[name].shape) for name in names}, version=version)).dense
        assert names and all((dense[name] == -0.5).all() for name in names)


# ------------------------------------------------------------ generations, deaths


def test_another_generation_loses_the_servers():
    with running() as servers, client_of(servers) as client:
        servers[0].post(lambda: servers[0].service.begin(1))
        with pytest.raises(ServersLost, match="generation 1 is current, not 0"):
            for _ in range(1000):
                client.pull()
        with client_of(servers, generation=1) as again:
            assert again.pull()[1] == 0


def test_a_killed_server_is_noticed_at_once():
    process = ServerProcess()
    try:
        with client_of([process]) as client:
            client.step(pushed())
            process.signal(signal.SIGSTOP)
            waiting = client.step_async(pushed(version=1))
            started = time.monotonic()
            process.signal(signal.SIGKILL)
            with pytest.raises(ServersLost, match=r"parameter server 0 at .* is lost: the connection broke"):
                waiting.result(timeout=10)
            assert time.monotonic() - started < 5
            with pytest.raises(ServersLost):
                client.pull()
    finally:
        process.end()


def test_a_server_that_hangs_runs_into_the_deadline():
    process = ServerProcess()
    try:
        with client_of([process], timeout=0.3) as client:
            process.signal(signal.SIGSTOP)
            with pytest.raises(ServersLost, match=r"no answer within 0.3 seconds"):
                client.pull()
    finally:
        process.end()


def test_a_server_that_is_not_there_is_noticed():
    with running() as servers:
        addresses = [server.address for server in servers]
    client = ParameterClient(addresses, TOKEN)
    with pytest.raises(ServersLost, match="is lost"):
        client.pull()
    client.close()


def test_a_closed_client_says_so():
    with running() as servers, client_of(servers) as client:
        client.close()
        with pytest.raises(ServersLost, match="was closed"):
            client.pull()


# ------------------------------------------------------------ strangers


def test_a_peer_without_the_token_is_refused(caplog):
    with running() as servers, client_of(servers, initialize=False, token="x" * 64) as client:
        with pytest.raises(ServersLost, match="it refuses this job's token"):
            client.pull()
    assert "is not in this job" in caplog.text


@pytest.mark.parametrize(
    "network",
    [Network.at("127.0.0.2", encrypt=True), Network.at("0.0.0.0", "127.0.0.3"), Network.at("::1", encrypt=True)],
    ids=["loopback", "all addresses", "IPv6"],
)
def test_between_machines_everything_is_encrypted(network):
    if ":" in network.bind and not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    with running(2, network=network) as servers:
        assert all(server.address.startswith("curve://") for server in servers)
        with client_of(servers) as client:
            assert client.step(pushed()).version == 1
        with client_of(servers, initialize=False, token="x" * 64, timeout=5) as client:
            with pytest.raises(ServersLost):
                client.pull()
        context = zmq.Context()
        with context.socket(zmq.DEALER) as plain:
            plain.linger = 0
            plain.ipv6 = "[" in servers[0].address
            connect(plain, TOKEN, servers[0].address.replace("curve", "tcp"))
            plain.send_multipart(encode(Message(Kind.STATUS, 0, 1), frame_key(TOKEN)))
            assert not plain.poll(300)
        context.term()


def test_on_one_machine_only_the_owner_reaches_the_socket(tmp_path):
    server = ParameterServer(StoreService(), TOKEN, folder=tmp_path)
    path = Path(server.address.removeprefix("ipc://"))
    assert path.is_socket() and path.parent.parent == tmp_path
    assert path.parent.stat().st_mode & 0o777 == 0o700
    server.stop()
    server.run()
    assert not list(tmp_path.iterdir())
    assert psutil.Process().net_connections() == []


def test_a_long_name_of_the_temporary_folder_does_no_harm(tmp_path):
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    server = ParameterServer(StoreService(), TOKEN, folder=deep)
    thread = threading.Thread(target=server.run)
    thread.start()
    with client_of([server], initialize=False) as client:
        assert client.status()[0]["declared"] is False
    server.stop()
    thread.join(timeout=10)


def test_a_stranger_holds_little_and_not_for_long(monkeypatch):
    """On a port: a frame of a gigabyte ends the connection at its head, and silence ends it, too."""
    monkeypatch.setattr(security, "HANDSHAKE_SECONDS", 1)
    greeting = b"\xff" + b"\0" * 8 + b"\x7f\x03\x01CURVE" + b"\0" * 15 + b"\0" * 32
    with running(network=Network.at("127.0.0.1", encrypt=True)) as servers, client_of(servers) as client:
        host, _, port = servers[0].address.removeprefix("curve://").rpartition(":")
        before = psutil.Process().memory_info().rss
        for said in (greeting + b"\x06" + (1 << 30).to_bytes(8, "big"), greeting, b"\0", b""):
            started = time.monotonic()
            with socket.create_connection((host, int(port)), timeout=20) as stranger:
                stranger.sendall(said)
                with contextlib.suppress(ConnectionError):
                    if said.startswith(greeting + b"\x06"):
                        for _ in range(256):
                            stranger.sendall(bytes(1 << 20))
                    while stranger.recv(4096):
                        pass
            assert time.monotonic() - started < 20
        assert psutil.Process().memory_info().rss - before < 100 << 20
        assert client.step(pushed()).version == 1


def test_nonsense_from_peers_does_no_harm(caplog):
    caplog.set_level(logging.WARNING)
    rng = random.Random(0)
    good = encode(Message(Kind.STEP, 0, 1, *requests.step(StepRequest())), frame_key(TOKEN))
    context = zmq.Context()
    with running() as servers, client_of(servers) as client, context.socket(zmq.DEALER) as peer:
        peer.linger = 0
        connect(peer, TOKEN, servers[0].address)
        for _ in range(300):
            frames = [bytearray(bytes(frame)) for frame in good]
            frame = rng.choice(frames)
            match rng.randrange(4):
                case 0:
                    frames.remove(frame)
                case 1:
                    frame += rng.randbytes(9)
                case 2:
                    frame[:] = rng.randbytes(rng.randrange(200))
                case 3:
                    frames += [b""] * rng.randrange(100)
            peer.send_multipart(frames)
        peer.send_multipart([b""] * 70_000)
        for kind in Kind:  # signed, but not what this kind needs
            for meta in (
                {},
                {"dense": 3},
                {"dense": ["w"], "push": True},
                {"push": {"dense": [], "rows": [], "version": -1}},
                {"tables": [{}], "optimizer": None},
            ):
                peer.send_multipart(encode(Message(kind, 0, 2, meta), frame_key(TOKEN)))
        assert client.step(pushed()).version == 1
    context.term()
    assert caplog.text.count("dropped a message") == 1
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("network", [None, Network.at("127.0.0.1", encrypt=True)], ids=["files", "ports"])
def test_messages_may_be_as_large_as_the_model_needs_and_no_larger(network):
    def assign(transport, values):
        return transport.request(0, Kind.ASSIGN, requests.assign({"large": np.zeros(values, np.float32)}), 20)

    def refused_by_server(address, values, said):
        """Whoever does not look at the limits first is refused, or cut off where a frame is too large to be read."""
        stray = Transport([address], TOKEN, 0)
        with pytest.raises((DataError, ServersLost) if network is None else DataError, match=said):
            assign(stray, values).result()
        stray.close()

    large = {"large": np.arange(12 << 20, dtype=np.float32)}  # 48 MiB
    with running(network=network) as servers, client_of(servers, initialize=False) as client:
        refused_by_server(servers[0].address, 100_000, "0.4 MiB for a parameter server|the connection broke")
        assert client.status()[0]["declared"] is False  # other connections are untouched
        client.initialize(SGD, large, TABLES)
        dense, _ = client.pull()
        assert np.array_equal(dense["large"], large["large"])
        assert client.step(push_of_all(large)).version == 1
        with pytest.raises(DataError, match=r"minibatch_size, it takes [0-9.]+ MiB at a time"):
            client.step(StepRequest(lookup={"t": np.arange(40 << 20)}))  # which was not sent
        refused_by_server(client.addresses[0], 80 << 20, "320.0 MiB for a parameter server|the connection broke")
        assert client.step(push_of_all(large, version=1)).version == 2
        with client_of(servers, initialize=False) as other:  # another worker
            other.initialize(SGD, large, TABLES)
            assert other.step(push_of_all(large, version=2)).version == 3


def push_of_all(values, version=0):
    return StepRequest(Push(values, version=version))
