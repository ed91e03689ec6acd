"""A parameter server's process, under a master that does as it is told."""

import queue
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from running_servers import DENSE, SGD, TABLES

from elasticdl_nb.runtime.parameters.api import Push, ServersLost, StepRequest
from elasticdl_nb.runtime.parameters.store import UpdatePolicy
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol import master_pb2_grpc
from elasticdl_nb.runtime.ps.client import ParameterClient
from elasticdl_nb.runtime.ps.process import policy_of
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage import checkpoints
from elasticdl_nb.runtime.storage.jobfolder import JobFolder


class Master(master_pb2_grpc.MasterServicer):
    """Serves one job's parameter servers; `said` has what they say, but for their heartbeats."""

    def __init__(self, folder):
        self.folder = folder
        self.folder.make_temporary()
        self.said = queue.Queue()
        self.heartbeats = queue.Queue()
        self.orders = {}
        self.processes = []
        self._server = grpc.server(ThreadPoolExecutor(8))
        master_pb2_grpc.add_MasterServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def Work(self, requests, context):
        hello = next(requests).hello
        orders = self.orders[hello.worker] = queue.Queue()
        orders.put(pb.MasterMessage(welcome=pb.Welcome()))
        self.said.put(hello)
        self._listen(requests, orders)
        yield from iter(orders.get, None)

    def _listen(self, requests, orders):
        def listen():
            try:
                for message in requests:
                    if message.WhichOneof("body") == "progress":
                        self.heartbeats.put(message.progress)
                    else:
                        self.said.put(getattr(message, message.WhichOneof("body")))
                        orders.put(pb.MasterMessage(acknowledged=message.sequence))
            except grpc.RpcError:
                pass
            orders.put(None)

        ThreadPoolExecutor(1).submit(listen)

    def start(self, index=0):
        """Start a server; return what it says first."""
        command = [sys.executable, "-m", "elasticdl_nb.runtime.ps", self.folder.path, self.address, str(index), "a"]
        self.processes.append(subprocess.Popen(command))
        return self.hears(pb.Hello)

    def order(self, index=0, **body):
        self.orders[index].put(pb.MasterMessage(**body))

    def hears(self, kind):
        said = self.said.get(timeout=30)
        assert isinstance(said, kind), said
        return said

    def restore(self, generation, path="", keep_step=True):
        self.order(restore=pb.Restore(generation=generation, path=str(path), keep_step=keep_step))
        return self.hears(pb.RestoreDone)

    def client(self, hello, generation):
        return ParameterClient([hello.data_address], self.folder.token(), generation=generation)

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait(timeout=10)
        self._server.stop(None)
        self.folder.remove_temporary()  # with the sockets of servers that were killed


@pytest.fixture
def master(tmp_path, monkeypatch):
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path))
    strategy = "ParameterServerStrategy"
    spec = JobSpec.create("train", model_def="m", data="x.csv", job_name="job", distribution_strategy=strategy)
    master = Master(JobFolder.create(spec))
    with master.folder.hold_master_lock():
        yield master
        master.close()


def step(client, value=1.0):
    ids = np.arange(5)
    return client.step(StepRequest(Push(rows={"t": (ids, np.full((5, 2), value, np.float32))}))).version


def row(client):
    return client.lookup("t", np.array([3]), create=False)[0, 0]


def test_a_server_goes_back_to_a_checkpoint_and_so_does_its_successor(master, tmp_path):
    hello = master.start()
    assert (hello.role, hello.worker) == ("ps", 0) and hello.data_address.startswith("ipc:///")
    assert not master.restore(1).HasField("failure")
    client = master.client(hello, 1)
    client.initialize(SGD, DENSE, TABLES)
    assert [step(client) for _ in range(3)] == [1, 2, 3]

    folder = tmp_path / "checkpoint"
    folder.mkdir()
    master.order(snapshot=pb.Snapshot(number=7, generation=1, path=str(folder)))
    captured = master.hears(pb.SnapshotCaptured)
    assert (captured.number, captured.step) == (7, 3)
    step(client)
    written = master.hears(pb.SnapshotWritten)
    assert written.number == 7 and not written.HasField("failure")
    checkpoints.seal(folder, 3, "job")

    assert master.restore(2, folder).step == 3
    with pytest.raises(ServersLost, match="generation 2 is current"):
        row(client)
    client.close()
    client = master.client(hello, 2)
    assert row(client) == -1.5 and step(client) == 4

    master.processes[0].kill()
    with pytest.raises(ServersLost):
        while True:
            row(client)
    client.close()
    hello = master.start()
    assert master.restore(3, folder).step == 3
    client = master.client(hello, 3)
    assert row(client) == -1.5  # it knows the job's optimizer, so it needs no worker to declare the model
    client.initialize(SGD, DENSE, TABLES)
    assert row(client) == -1.5 and step(client) == 4
    client.close()

    master.order(leave=pb.Leave())
    assert master.processes[1].wait(timeout=10) == 0


def test_a_server_tells_what_it_holds(master):
    hello = master.start()
    master.restore(1)
    client = master.client(hello, 1)
    client.initialize(SGD, DENSE, TABLES)
    step(client)
    client.close()
    while not (said := master.heartbeats.get(timeout=10)).rows:
        assert said.activity in ("restoring", "serving")
    assert said.rows == 5 and said.bytes > 2_400_000 and said.step == 1


def test_a_full_disk_leaves_nothing_and_does_no_harm(master, tmp_path):
    hello = master.start()
    resource.prlimit(master.processes[0].pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    master.restore(1)
    client = master.client(hello, 1)
    client.initialize(SGD, DENSE, TABLES)
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    master.order(snapshot=pb.Snapshot(number=1, generation=1, path=str(folder)))
    master.hears(pb.SnapshotCaptured)
    assert "File too large" in master.hears(pb.SnapshotWritten).failure.message
    assert list(folder.iterdir()) == []
    assert step(client) == 1
    client.close()


def test_a_checkpoint_that_cannot_be_used_is_refused(master, tmp_path):
    hello = master.start()
    assert "no checkpoint found" in master.restore(1, tmp_path / "nowhere").failure.message
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "server-0-of-1.ps").write_bytes(b"ELASTICDL PS 1\n\xff\xff\xff")
    checkpoints.seal(damaged, 3, "job")
    assert "was cut off" in master.restore(2, damaged).failure.message
    master.restore(3)
    client = master.client(hello, 3)
    client.initialize(SGD, DENSE, TABLES)
    assert step(client) == 1
    client.close()


def test_options_of_the_job_say_how_gradients_are_taken():
    def policy(**options):
        served = {"distribution_strategy": "ParameterServerStrategy", "num_ps": 1, "num_workers": 3}
        return policy_of(JobSpec.create("train", model_def="m", data="d", output="o", **served, **options))

    assert policy() == UpdatePolicy()
    assert policy(lr_staleness_modulation=True) == UpdatePolicy(staleness_modulation=True)
    assert policy(use_async=False, grads_to_wait=2, sync_version_tolerance=1) == UpdatePolicy(2, 1)
