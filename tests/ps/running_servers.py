"""Parameter servers in threads and processes, for tests."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

import numpy as np

from elasticdl_nb.runtime.parameters.generations import StoreService
from elasticdl_nb.runtime.parameters.table import TableSpec
from elasticdl_nb.runtime.ps.client import ParameterClient
from elasticdl_nb.runtime.ps.security import leave
from elasticdl_nb.runtime.ps.server import ParameterServer

TOKEN = "t" * 64
SGD = {"class_name": "SGD", "config": {"learning_rate": 0.5, "momentum": 0.0, "nesterov": False}}
DENSE = {"w": np.zeros((2, 2), np.float32), "b": np.zeros(3, np.float32), "large": np.zeros(600_000, np.float32)}
TABLES = [TableSpec("t", 2, "zeros"), TableSpec("u", 4, "uniform")]

SCRIPT = """
import sys
from elasticdl_nb.runtime.ps.server import ParameterServer
from elasticdl_nb.runtime.parameters.generations import StoreService
server = ParameterServer(StoreService(server=int(sys.argv[1]), servers=int(sys.argv[2])), "t" * 64)
print(server.address, flush=True)
server.run()
"""


@contextlib.contextmanager
def running(count=1, policy=None, network=None, token=TOKEN):
    """Servers in threads of this process."""
    servers = [ParameterServer(StoreService(policy, server=i, servers=count), token, network) for i in range(count)]
    threads = [threading.Thread(target=server.run, name="server") for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield servers
    finally:
        for server in servers:
            server.stop()
        for thread in threads:
            thread.join(timeout=10)
            assert not thread.is_alive()


@contextlib.contextmanager
def client_of(servers, initialize=True, **options):
    client = ParameterClient([server.address for server in servers], options.pop("token", TOKEN), **options)
    try:
        if initialize:
            client.initialize(SGD, DENSE, TABLES)
        yield client
    finally:
        client.close()


class ServerProcess:
    """A server in a process of its own."""

    def __init__(self, index=0, count=1):
        command = [sys.executable, "-c", SCRIPT, str(index), str(count)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().strip()

    def signal(self, number):
        os.kill(self.process.pid, number)

    def end(self):
        self.signal(signal.SIGKILL)
        self.process.wait(timeout=10)
        self.process.stdout.close()
        leave(self.address)
