"""Round trips to a process on this machine: our data plane, plain TCP and gRPC with raw bytes.

    python benchmarks/data_plane.py [--seconds 1.0]

The other process sends back what it gets. Each line gives the median round trip of ours and of the others, measured in
turn in one run, the bytes per second in both directions together, and how many times slower the others are. The last
lines are requests to a real parameter server: a step (send gradients, SGD, return new values) and a lookup of rows.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection

import grpc
import numpy as np

from elasticdl_nb.runtime.parameters.api import Push, StepRequest
from elasticdl_nb.runtime.parameters.generations import StoreService
from elasticdl_nb.runtime.parameters.rows.memory import keep_freed_buffers
from elasticdl_nb.runtime.parameters.table import TableSpec
from elasticdl_nb.runtime.ps.client import ParameterClient
from elasticdl_nb.runtime.ps.security import leave
from elasticdl_nb.runtime.ps.server import ParameterServer
from elasticdl_nb.runtime.ps.transport import Transport
from elasticdl_nb.runtime.ps.wire import LIMITS, Kind, Message

TOKEN = "benchmark"
SIZES = {"64 B": 64, "2 MiB": 2 << 20, "32 MiB": 32 << 20}
LENGTH = struct.Struct("<Q")
GRPC = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
SGD = {"class_name": "SGD", "config": {"learning_rate": 0.5, "momentum": 0.0, "nesterov": False}}

# ------------------------------------------------------------ the other process


class Echo(ParameterServer):
    """Answers every request with its own arrays."""

    def _answer(self, message: Message) -> Message:
        return Message(Kind.REPLY, 0, message.request, {}, message.arrays)


def serve_ours(pipe: Connection) -> None:
    server = Echo(StoreService(), TOKEN, limits=LIMITS)
    pipe.send(server.address)
    server.run()


def serve_store(pipe: Connection) -> None:
    server = ParameterServer(StoreService(), TOKEN)
    pipe.send(server.address)
    server.run()


def serve_tcp(pipe: Connection) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pipe.send(listener.getsockname())
        connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while (content := receive(connection)) is not None:
        send(connection, content)


def serve_grpc(pipe: Connection) -> None:
    server = grpc.server(ThreadPoolExecutor(2), options=GRPC)
    handler = grpc.unary_unary_rpc_method_handler(lambda request, _: request)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("Echo", {"Echo": handler})])
    pipe.send(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    server.start()
    server.wait_for_termination()


def send(connection: socket.socket, content: bytes | bytearray | memoryview) -> None:
    connection.sendall(LENGTH.pack(len(content)))
    connection.sendall(content)


def receive(connection: socket.socket) -> bytearray | None:
    header = connection.recv(LENGTH.size, socket.MSG_WAITALL)
    if not header:
        return None
    content = bytearray(LENGTH.unpack(header)[0])
    left = memoryview(content)
    while left:
        left = left[connection.recv_into(left) :]
    return content


def child(serve: Callable[[Connection], None], pipe: Connection) -> None:
    keep_freed_buffers()
    serve(pipe)


# ------------------------------------------------------------ this process


class Peer:
    """A process that serves."""

    def __init__(self, serve: Callable[[Connection], None]) -> None:
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe()
        self._process = context.Process(target=child, args=(serve, theirs), daemon=True)
        self._process.start()
        self.address = mine.recv()
        self.pid = self._process.pid

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        leave(str(self.address))


def round_trips(peers: dict[str, Peer]) -> dict[str, Callable[[np.ndarray], object]]:
    transport = Transport([peers["ours"].address], TOKEN, 0)
    connection = socket.create_connection(peers["TCP"].address)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    call = grpc.insecure_channel(peers["gRPC"].address, options=GRPC).unary_unary("/Echo/Echo")

    def ours(values: np.ndarray) -> object:
        return transport.request(0, Kind.STATUS, ({}, [values]), 60).result().arrays[0]

    def tcp(values: np.ndarray) -> object:
        send(connection, values.data.cast("B"))
        return np.frombuffer(receive(connection) or b"", np.float32)

    def grpc_bytes(values: np.ndarray) -> object:
        return np.frombuffer(call(values.tobytes()), np.float32)

    return {"ours": ours, "TCP": tcp, "gRPC": grpc_bytes}


def medians(actions: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Return the median time of each action in seconds; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for action in actions.values():
        action()
    end = time.perf_counter() + seconds * len(actions)
    while time.perf_counter() < end or len(times["ours"]) < 5:
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            times[name].append(time.perf_counter() - start)
    return {name: sorted(taken)[len(taken) // 2] for name, taken in times.items()}


def line(name: str, size: int, took: dict[str, float]) -> None:
    ours = took["ours"]
    others = "   ".join(f"{other} {t * 1e3:.2f} ms ({t / ours:.2f}x)" for other, t in took.items() if other != "ours")
    rate = f"{2 * size / ours / 1e6:7.0f} MB/s" if size > 1000 else " " * 12
    print(f"{name:<22} {ours * 1e3:8.2f} ms {rate}   {others}", flush=True)


def real_requests(address: str, seconds: float) -> None:
    client = ParameterClient([address], TOKEN)
    value = np.zeros(2 << 18, np.float32)
    client.initialize(SGD, {"w": value}, [TableSpec("t", 16)])
    ids = np.random.default_rng(0).integers(0, 1_000_000, 26_624)
    step = medians({"ours": lambda: client.step(StepRequest(Push({"w": value})))}, seconds)
    line("step, 2 MiB", value.nbytes, step)
    lookup = medians({"ours": lambda: client.lookup("t", ids)}, seconds)
    line("lookup, 26,624 x 16", ids.nbytes // 2 + ids.size * 32, lookup)
    client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each figure")
    seconds = parser.parse_args().seconds
    keep_freed_buffers()
    peers = {"ours": Peer(serve_ours), "TCP": Peer(serve_tcp), "gRPC": Peer(serve_grpc), "store": Peer(serve_store)}
    try:
        trips = round_trips(peers)
        for name, size in SIZES.items():
            values = np.random.default_rng(0).random(size // 4, np.float32)
            line(name, size, medians({key: partial(trip, values) for key, trip in trips.items()}, seconds))
        real_requests(peers["store"].address, seconds)
    finally:
        for peer in peers.values():
            peer.end()


if __name__ == "__main__":
    main()
