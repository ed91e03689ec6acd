"""What the server's clients leave behind, and how it stops: queries end in the database, too."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from elasticdl_nb.sql import engines
from elasticdl_nb.sql.protocol import sqlflow_pb2 as pb
from elasticdl_nb.sql.protocol.sqlflow_pb2_grpc import SQLFlowStub

WAIT_SECONDS = 60.0
SLEEPS = "SELECT COUNT(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'"
LONG = "SELECT count(*) FROM range(10000000) a, range(100000) b WHERE a.range * b.range % 7 = 3"


@contextmanager
def server(connect: str, tmp_path: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    command = [sys.executable, "-m", "elasticdl_nb", "sqlflow-server", "--port", "0", "--no_token", *more]
    command += ["--connect", connect, "--store", str(tmp_path / "models")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = re.search(r":(\d+)\. Clients", process.stdout.readline())
            assert port is not None
            with grpc.insecure_channel(f"127.0.0.1:{port[1]}") as channel:
                yield process, SQLFlowStub(channel)
        finally:
            process.kill()


def listen(stub: Any, sql: str) -> Any:
    """Start a program and read its responses in another thread, as a client does."""
    call = stub.Run(pb.Request(sql=sql, session=pb.Session()))

    def read() -> None:
        with suppress(grpc.RpcError):
            list(call)

    threading.Thread(target=read, daemon=True).start()
    return call


def becomes(engine: engines.Engine, count: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while engine.rows(SLEEPS) != [(count,)]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.needs("postgresql")
def test_queries_end_with_their_client_and_with_the_server(tmp_path: Path, postgresql_url: str) -> None:
    engine = engines.connect(postgresql_url)
    with server(postgresql_url, tmp_path) as (process, stub):
        call = listen(stub, "SELECT pg_sleep(120)")
        becomes(engine, 1)
        call.cancel()
        becomes(engine, 0)
        listen(stub, "SELECT pg_sleep(120)")
        becomes(engine, 1)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        process.wait(WAIT_SECONDS)
        assert time.monotonic() - began < 20
        becomes(engine, 0)
    engine.close()


@pytest.mark.parametrize("more", [(), ("--background",)])
def test_a_server_whose_own_duckdb_works_ends_within_seconds(more: tuple[str, ...], tmp_path: Path) -> None:
    with server(str(tmp_path / "data.duckdb"), tmp_path, *more) as (process, stub):
        listen(stub, LONG)
        time.sleep(2)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        process.wait(WAIT_SECONDS)
        assert time.monotonic() - began < 20
