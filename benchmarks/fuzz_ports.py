"""Nonsense for every port of a job, from callers without the token: nothing may crash, happen, or stay in memory.

    python benchmarks/fuzz_ports.py [--frames 1000000] [--seed 0]

Another process serves all kinds of ports on the loopback address. This one sends frames to each in turn: random bytes,
and beginnings of what the protocol wants, whole, cut short, changed or far too long. Afterwards every port has to
answer those who know the token, nothing may have happened, and the process may not have grown.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import random
import socket
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import grpc
import psutil

TOKEN = "the token of the fuzzed job"
FRAMES_EACH = 20
"""Frames to a connection, if it is not ended before."""

GROWTH = 32 << 20
"""Bytes that the process may grow after the first tenth of the frames: buffers of libraries that are kept for reuse."""

# ------------------------------------------------------------ the process with the ports


class Happened:
    """Stands for the master behind the service, the session behind SQL and the page: counts what reaches it."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def happen(*_: object) -> Any:
            self.names.append(name)
            raise ValueError(name)

        return happen


def serve(pipe: Connection) -> None:
    """Serve all ports until told to end; tell what happened."""
    from elasticdl_nb.runtime.allreduce.connect import Listener
    from elasticdl_nb.runtime.parameters.generations import StoreService
    from elasticdl_nb.runtime.protocol.network import Network
    from elasticdl_nb.runtime.ps.server import ParameterServer
    from elasticdl_nb.sql.server.service import SQLFlowService
    from elasticdl_nb.sql.server.serving import Server

    happened = Happened()
    store = StoreService()
    servers = ParameterServer(store, TOKEN, Network.at("127.0.0.1", encrypt=True))
    threading.Thread(target=servers.run, daemon=True).start()
    ring = Listener(TOKEN)
    sql = Server(SQLFlowService(happened.open, TOKEN), "127.0.0.1", 0)
    sql.start()
    threading.Thread(target=_keep_ring_open, args=(ring, happened), daemon=True).start()
    addresses: dict[str, Any] = {"servers": servers.address, "ring": ring.address, "sql": f"127.0.0.1:{sql.port}"}
    ready = threading.Event()
    threading.Thread(target=lambda: asyncio.run(_serve_master(addresses, happened, ready)), daemon=True).start()
    ready.wait(30)
    pipe.send(addresses)
    pipe.recv()
    pipe.send(happened.names + (["declared"] if store.declared else []))


async def _serve_master(addresses: dict[str, Any], happened: Happened, ready: threading.Event) -> None:
    from elasticdl_nb.runtime.master import dashboard as page
    from elasticdl_nb.runtime.master.service import MasterService
    from elasticdl_nb.runtime.protocol import channels, master_pb2_grpc
    from elasticdl_nb.runtime.protocol.auth import RequireToken
    from elasticdl_nb.runtime.protocol.network import Network

    server = grpc.aio.server(interceptors=[RequireToken(TOKEN)], options=channels.server_options(64 << 20))
    master_pb2_grpc.add_MasterServicer_to_server(MasterService(happened), server)  # type: ignore[no-untyped-call]
    addresses["master"] = channels.listen(server, Network(), TOKEN)
    await server.start()
    page.load_renderer = lambda _: happened  # type: ignore[assignment,return-value]
    addresses["dashboard"] = await page.Dashboard("", happened.status, TOKEN).start()
    ready.set()
    await server.wait_for_termination()


def _keep_ring_open(ring: Any, happened: Happened) -> None:
    """Wait for a neighbour who never comes."""
    from elasticdl_nb.runtime.allreduce.collective import RingBroken

    nobody = socket.create_server(("127.0.0.1", 0))
    while True:
        with contextlib.suppress(RingBroken):
            ring.connect(1, 0, [ring.address, f"127.0.0.1:{nobody.getsockname()[1]}"], limit=60.0)
            happened.names.append("admitted to the ring")


# ------------------------------------------------------------ frames

_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS = b"\0\0\0\4\0\0\0\0\0"


def _call(path: bytes) -> bytes:
    """Return the head of a gRPC call: POST, http, and the path and host as HPACK literals."""
    head = b"\x83\x86\x44" + bytes([len(path)]) + path + b"\x41\x09localhost"
    return len(head).to_bytes(3, "big") + b"\1\4\0\0\0\1" + head


_CALL, _RUN = _call(b"/elasticdl.Master/CancelJob"), _call(b"/proto.SQLFlow/Run")
_BEGINNINGS = {
    "master": [_HTTP2 + _SETTINGS, _HTTP2 + _SETTINGS + _CALL, _CALL, b"\0\0\5\0\1\0\0\0\1\0\xff\xff\xff\xff"],
    "sql": [_HTTP2 + _SETTINGS, _HTTP2 + _SETTINGS + _RUN, _RUN, b"\0\0\5\0\1\0\0\0\1\0\xff\xff\xff\xff"],
    "servers": [
        b"\xff" + b"\0" * 8 + b"\x7f\3\1CURVE" + b"\0" * 47,
        b"\xff" + b"\0" * 8 + b"\x7f\3\1PLAIN" + b"\0" * 47 + b"\4\x1a\5HELLO\6worker\x0cnot this one",
        b"\6" + (1 << 31).to_bytes(8, "big"),
        b"\4\xc8\5HELLO" + b"\0" * 194,
    ],
    "ring": [b"\1\0\0\0\0\0\0\0\1\0\0\0" + b"\0" * 48, b"\0" * 60],
    "dashboard": [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /0000/events HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        b"POST /x/ HTTP/1.1\r\nContent-Length: 99999999999\r\n",
        b"\r\n\r\n",
    ],
}  # fmt: skip


def frame(port: str, rng: random.Random) -> bytes:
    """Return something to send to a port."""
    data = bytearray(rng.choice(_BEGINNINGS[port]))
    match rng.randrange(6):
        case 0:
            return rng.randbytes(rng.randrange(1, 400))
        case 1:
            del data[rng.randrange(len(data)) :]
        case 2:
            for _ in range(rng.randrange(1, 9)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        case 3:
            data += rng.randbytes(rng.choice((1, 50, 5000)))
        case 4 if rng.random() < 0.02:
            data += bytes(200_000)
    return bytes(data)


def attack(port: str, place: tuple[str, int], rng: random.Random, frames: int) -> int:
    """Send up to so many frames over one connection; return how many were sent."""
    sent = 0
    try:
        with socket.create_connection(place, timeout=1.0) as stranger:
            # Not to run out of ports: a connection that is reset leaves nothing behind.
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            for _ in range(frames):
                stranger.sendall(frame(port, rng))
                sent += 1
    except OSError:
        sent += 1
    return sent


# ------------------------------------------------------------ afterwards


def answers(addresses: dict[str, str]) -> dict[str, str]:
    """Ask each port something with the token; return what is wrong."""
    from elasticdl_nb.runtime.ps.client import ParameterClient
    from elasticdl_nb.sql.protocol import sqlflow_pb2 as sql
    from elasticdl_nb.sql.protocol.sqlflow_pb2_grpc import SQLFlowStub

    wrong = {}
    client = ParameterClient([addresses["servers"]], TOKEN, timeout=20)
    if client.status()[0]["declared"]:
        wrong["servers"] = "they have been told of a model"
    client.close()
    with grpc.insecure_channel(addresses["sql"], [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            SQLFlowStub(channel).Fetch(sql.FetchRequest(), timeout=20)  # type: ignore[no-untyped-call]
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                wrong["sql"] = str(error)
    with grpc.insecure_channel(addresses["master"], [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary("/elasticdl.Master/CancelJob")(b"", timeout=20)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                wrong["master"] = str(error)
    for port in ("ring", "dashboard"):
        with socket.create_connection(_place(addresses[port]), timeout=10) as one:
            if port == "dashboard":
                one.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if not one.recv(16):
                wrong[port] = "it says nothing"
    return wrong


def _place(address: str) -> tuple[str, int]:
    host, _, port = (
        address.partition("://")[2].partition("/")[0].rpartition(":") if "://" in address else (address.rpartition(":"))
    )
    return host, int(port)


def fuzz(frames: int, seed: int = 0) -> dict[str, Any]:
    """Send this many frames and return the results; `problems` is empty if all is well."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    addresses = ours.recv()
    watched, rng = psutil.Process(process.pid), random.Random(seed)
    sent = dict.fromkeys(_BEGINNINGS, 0)
    before, began = 0, time.monotonic()
    peak = 0
    while sum(sent.values()) < frames and process.is_alive():
        for port in sent:
            sent[port] += attack(port, _place(addresses[port]), rng, FRAMES_EACH)
        memory = watched.memory_info().rss if process.is_alive() else 0
        if sum(sent.values()) < frames / 10:
            before = max(before, memory)
        peak = max(peak, memory)
    problems = {} if process.is_alive() else {"process": f"it ended with {process.exitcode}"}
    if not problems:
        time.sleep(6)  # the last connections run into their deadlines
        problems = answers(addresses)
        after = watched.memory_info().rss
        if after - before > GROWTH:
            problems["memory"] = f"{(after - before) >> 20} MiB more"
        ours.send("end")
        if happened := ours.recv():
            problems["effects"] = ", ".join(sorted(set(happened)))
    process.kill()
    process.join()
    return {
        "frames": sent, "seconds": round(time.monotonic() - began, 1),
        "MiB": [before >> 20, peak >> 20, after >> 20 if not problems.get("process") else 0], "problems": problems,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    result = fuzz(given.frames, given.seed)
    print(json.dumps(result, indent=1))
    return bool(result["problems"])


if __name__ == "__main__":
    sys.exit(main())
