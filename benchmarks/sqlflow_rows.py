"""What a row costs the SQLFlow server: a million rows of six columns, streamed to a client on this machine.

The client reads the messages without decoding them. A line of output has the milliseconds of processor time that the
server used for a row (its limit is 0.05), and the rows that arrived in a second. The alternative is a server that sends
messages of the same size that are ready made: what gRPC itself costs.

    python benchmarks/sqlflow_rows.py [--rows N]
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import psutil

from elasticdl_nb.sql.protocol import sqlflow_pb2 as pb

_QUERY = (
    "SELECT i, i * 0.5::DOUBLE AS half, 'name ' || i % 1000 AS name, i % 2 = 0 AS even, "
    "(i % 100)::DECIMAL(9, 2) AS fee, TIMESTAMP '2020-01-01' + INTERVAL (i) SECOND AS moment FROM range({rows}) r(i)"
)
_READY_MADE = """
import asyncio, sys, grpc
async def main(rows, size):
    async def run(request, context):
        for _ in range(rows):
            yield bytes(size)
    server = grpc.aio.server()
    same = lambda data: data
    handlers = {"Run": grpc.unary_stream_rpc_method_handler(run, same, same)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("proto.SQLFlow", handlers),))
    print("at 127.0.0.1:%d." % server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()
asyncio.run(main(*map(int, sys.argv[1:])))
"""


@contextmanager
def running(command: list[str]) -> Iterator[tuple[psutil.Process, str]]:
    """Start a server; yield its process and its address, which it prints."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"at ([\d.]+:\d+)", process.stdout.readline())
        assert found is not None
        try:
            yield psutil.Process(process.pid), found[1]
        finally:
            process.terminate()


def measure(name: str, command: list[str], rows: int) -> int:
    """Read all rows, print what one cost, and return the mean size of a message."""
    with running(command) as (server, address), grpc.insecure_channel(address) as channel:
        run = channel.unary_stream("/proto.SQLFlow/Run", pb.Request.SerializeToString, lambda data: data)
        list(run(pb.Request(sql="SELECT 1")) if "sqlflow-server" in command else [])  # everything is imported
        used, began = sum(server.cpu_times()[:2]), time.perf_counter()
        size = count = 0
        for message in run(pb.Request(sql=_QUERY.format(rows=rows)), wait_for_ready=True):
            size, count = size + len(message), count + 1
        seconds = time.perf_counter() - began
        used = sum(server.cpu_times()[:2]) - used
    assert count >= rows
    print(f"{name:12} {1000 * used / rows:7.4f} ms of the server's processor a row  {rows / seconds:9,.0f} rows/s")
    return size // count


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    serve = [sys.executable, "-m", "elasticdl_nb", "sqlflow-server", "--port", "0", "--no_token"]
    size = measure("ours", serve, rows)
    measure("ready-made", [sys.executable, "-c", _READY_MADE, str(rows), str(size)], rows)


if __name__ == "__main__":
    main()
