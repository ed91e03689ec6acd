"""What a caller without the token can make a gRPC port hold, and for how long."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import psutil
import pytest

from elasticdl_nb.runtime.protocol.auth import metadata

TOKEN = "t" * 64
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # and empty SETTINGS
SERVER = """
import asyncio, grpc, sys
from elasticdl_nb.runtime.protocol import channels
from elasticdl_nb.runtime.protocol.auth import RequireToken

channels.STRANGERS_SECONDS = 1.0

async def echo(request, context):
    return request

class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(echo)

async def main():
    server = grpc.aio.server(
        interceptors=[RequireToken(sys.argv[1])], handlers=[Echo()], options=channels.server_options(64 << 20)
    )
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[psutil.Process, int]]:
    process = subprocess.Popen([sys.executable, "-c", SERVER, TOKEN], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield psutil.Process(process.pid), int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def call(port: int, data: bytes, token: str) -> str | int:
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1), *unlimited]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        try:
            return len(channel.unary_unary("/a/b")(data, metadata=metadata(token), timeout=20))
        except grpc.RpcError as error:
            return str(error.code().name)


def test_what_strangers_send_is_not_held(server: tuple[psutil.Process, int]) -> None:
    process, port = server
    assert call(port, b"hello", TOKEN) == 5
    before, peak, over = process.memory_info().rss, 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.005):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    data = bytes(60 << 20)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: call(port, data, "x"), range(12)))
    over.set()
    watcher.join()
    assert set(answers) == {"UNAUTHENTICATED"}
    assert peak - before < 40 << 20
    assert call(port, bytes(8 << 20), TOKEN) == 8 << 20


@pytest.mark.parametrize("said", [b"", PREFACE[:10], PREFACE, PREFACE + b"\0\0\0\6\0\0\0\0\0"])
def test_silent_strangers_are_cut_off(server: tuple[psutil.Process, int], said: bytes) -> None:
    _, port = server
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as stranger, contextlib.suppress(ConnectionError):
        stranger.sendall(said)
        while stranger.recv(4096):
            pass
    assert time.monotonic() - begun < 20


def test_many_silent_strangers_keep_nobody_out(server: tuple[psutil.Process, int]) -> None:
    _, port = server
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(PREFACE)
        assert call(port, b"hello", TOKEN) == 5


def test_one_who_may_be_there_may_be_silent(server: tuple[psutil.Process, int]) -> None:
    _, port = server
    with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
        for _ in range(2):
            assert channel.unary_unary("/a/b")(b"x", metadata=metadata(TOKEN), timeout=10) == b"x"
            time.sleep(2.5)  # the connection ends meanwhile, which does no harm
