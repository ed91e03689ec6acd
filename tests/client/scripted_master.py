"""A master that does as it is told: real gRPC, real job folder, no workers."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol import master_pb2_grpc
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

END = object()


def make_folder(name: str = "job", **options: object) -> JobFolder:
    return JobFolder.create(JobSpec.create("train", model_def="m", data="x.csv", job_name=name, **options))


class ScriptedMaster(master_pb2_grpc.MasterServicer):
    """Serves the job in `folder` from a thread of the test's own process."""

    def __init__(self, folder: JobFolder) -> None:
        self.folder = folder
        self.status = pb.JobStatus(
            name=folder.name, kind=folder.spec().kind, phase=pb.RUNNING, started_at=time.time(), remaining_seconds=-1
        )
        self.waiting: list[bool] = []
        self.cancelled_because = ""
        self.watched = threading.Event()
        self._watchers: list[queue.SimpleQueue[object]] = []
        self._lock = threading.Lock()
        self._held = contextlib.ExitStack()

    def start(self) -> ScriptedMaster:
        self._held.enter_context(self.folder.hold_master_lock())
        self._server = grpc.server(ThreadPoolExecutor(8))
        master_pb2_grpc.add_MasterServicer_to_server(self, self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self.folder.write_master(f"127.0.0.1:{port}")
        return self

    # ------------------------------------------------------------ what the test tells it

    def set(self, **fields: object) -> None:
        """Change fields of the status, and tell every watcher all of it."""
        with self._lock:
            self.status.MergeFrom(pb.JobStatus(**fields))  # type: ignore[arg-type]
            self._send(pb.JobUpdate(full=True, status=self.status))

    def change(self, **fields: object) -> None:
        """Tell watchers only these fields, as an update."""
        with self._lock:
            self._send(pb.JobUpdate(status=pb.JobStatus(**fields)))  # type: ignore[arg-type]

    def drop_watchers(self) -> None:
        with self._lock:
            self._send(END)

    def end(self, phase: pb.JobPhase, **fields: object) -> None:
        now = time.time()
        self.set(phase=phase, finished_at=now, updated_at=now, **fields)
        self.folder.write_status(self.status)
        self.drop_watchers()
        self._held.close()

    def die(self) -> None:
        """Be gone without a word."""
        self._server.stop(None)
        self.drop_watchers()
        self._held.close()

    def stop(self) -> None:
        self.drop_watchers()
        self._server.stop(None).wait()
        self._held.close()

    def _send(self, item: object) -> None:
        for watcher in self._watchers:
            watcher.put(item)

    # ------------------------------------------------------------ the service

    def _check_token(self, context: grpc.ServicerContext) -> None:
        if ("authorization", f"Bearer {self.folder.token()}") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong token")

    def WatchJob(self, request, context):
        self._check_token(context)
        inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        context.add_callback(lambda: inbox.put(END))
        with self._lock:
            self.waiting.append(request.waiting)
            first = pb.JobUpdate(full=True, status=self.status)
            self._watchers.append(inbox)
        yield first
        self.watched.set()
        while (item := inbox.get()) is not END:
            yield item
        with self._lock:
            self._watchers.remove(inbox)

    def CancelJob(self, request, context):
        self._check_token(context)
        self.cancelled_because = request.reason
        threading.Thread(target=self.end, args=(pb.CANCELLED,), kwargs={"detail": request.reason}).start()
        return pb.CancelReply()
