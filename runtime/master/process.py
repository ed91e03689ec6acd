"""The master process: carries events to the coordinator and its actions to workers, files and watchers."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from contextlib import suppress

import grpc

from elasticdl_nb.runtime import publish
from elasticdl_nb.runtime.checkpoint import folders as checkpoints
from elasticdl_nb.runtime.data.reader import FileRecords, open_reader
from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.jobfolder import JobFolder
from elasticdl_nb.runtime.master import report
from elasticdl_nb.runtime.master.coordinator import CommitCheckpoint, Coordinator, KillWorker, Send, StartWorker
from elasticdl_nb.runtime.master.dashboard import Dashboard
from elasticdl_nb.runtime.master.picture import Mark
from elasticdl_nb.runtime.master.service import MasterService
from elasticdl_nb.runtime.platform.base import InstanceId, Platform
from elasticdl_nb.runtime.platform.local import LocalPlatform
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol import master_pb2_grpc
from elasticdl_nb.runtime.protocol.auth import RequireToken
from elasticdl_nb.runtime.spec import JobSpec

CLIENT_LIMIT = 60.0
"""Seconds that a job goes on after the last client that waited for it has gone."""

STATUS_INTERVAL = 1.0
logger = logging.getLogger(__name__)


class Master:
    """One job's master."""

    def __init__(self, folder: JobFolder, platform: Platform, renderer: str = "") -> None:
        self._folder = folder
        self._spec = folder.spec()
        self._platform = platform
        self._coordinator = Coordinator(self._spec, time.time())
        self._service = MasterService(self)
        self._dashboard = Dashboard(renderer, lambda: self.update(Mark())[0].status) if renderer else None
        self._dashboard_url = ""
        self._over = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._client_gone_at: float | None = None
        self._had_client = False

    async def run(self) -> None:
        """Serve until the job is over and every worker is gone."""
        server = grpc.aio.server(
            interceptors=[RequireToken(self._folder.token())],
            options=[("grpc.max_receive_message_length", 64 << 20), ("grpc.so_reuseport", 0)],
        )
        master_pb2_grpc.add_MasterServicer_to_server(self._service, server)  # type: ignore[no-untyped-call]
        self._address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        if self._dashboard is not None:
            self._dashboard_url = await self._dashboard.start()
        self._folder.write_master(self._address, self._dashboard_url)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.cancel, "the master was told to end")
        self._coordinator.start(time.time())
        self._act()
        for job in (self._watch_exits(), self._count_data(), self._tick()):
            self._spawn(job)
        try:
            await self._over.wait()
        finally:
            await self._platform.close()
            publish.discard(self._folder.publishing())  # of a worker that was killed while it wrote
            for task in self._background:
                task.cancel()
            self._write_status()
            self._service.wake_watchers()
            if self._dashboard is not None:
                await self._dashboard.close()
            await server.stop(grace=2.0)

    def _spawn(self, job: object) -> None:
        task = asyncio.create_task(self._guard(job))  # type: ignore[arg-type]
        self._background.add(task)

    async def _guard(self, job: asyncio.Future[None]) -> None:
        try:
            await job
        except Exception as error:  # a defect of the master must end the job loudly rather than let it hang
            logger.exception("the master failed")
            self._coordinator.fail(pb.Failure(message=f"the master failed: {error!r}"), time.time())
            self._act()

    # ------------------------------------------------------------ events of the service (service.Events)

    def worker_joined(self, index: int, incarnation: str, pid: int) -> bool:
        """See `service.Events`."""
        welcome = self._coordinator.worker_joined(index, incarnation, pid, time.time())
        self._act()
        return welcome

    def worker_said(self, index: int, incarnation: str, message: pb.WorkerMessage) -> None:
        """See `service.Events`."""
        self._coordinator.message(index, incarnation, message, time.time())
        self._act()

    def cancel(self, reason: str) -> None:
        """See `service.Events`."""
        self._coordinator.cancel(reason, time.time())
        self._act()

    def update(self, mark: Mark) -> tuple[pb.JobUpdate, Mark]:
        """See `service.Events`."""
        update, mark = report.update(self._coordinator, time.time(), mark, name=self._folder.name, pid=os.getpid())
        if not self._coordinator.is_over:
            update.status.dashboard_url = self._dashboard_url
        return update, mark

    # ------------------------------------------------------------ events of the platform, the data and the clock

    async def _watch_exits(self) -> None:
        async for exited in self._platform.exits():
            instance = exited.instance
            logger.info("%s-%d (%s) exited: %d", instance.role, instance.index, instance.incarnation, exited.code)
            self._coordinator.worker_exited(
                instance.index, instance.incarnation, exited.code, time.time(), exited.log_tail
            )
            self._act()

    async def _count_data(self) -> None:
        if self._spec.custom_data_reader:
            return  # the user's code, which workers run: one of them will say
        try:
            data = await asyncio.to_thread(count, self._spec, "data")
            validation = await asyncio.to_thread(count, self._spec, "validation_data")
        except (ElasticDLError, OSError) as error:
            self._coordinator.fail(pb.Failure(message=str(error)), time.time())
        else:
            self._coordinator.data_counted(data, validation, time.time())
        self._act()

    async def _tick(self) -> None:
        while True:
            now = time.time()
            self._coordinator.tick(now)
            self._look_for_client(now)
            self._act()
            self._write_status()
            await asyncio.sleep(STATUS_INTERVAL)

    def _look_for_client(self, now: float) -> None:
        if self._service.waiting_watchers:
            self._had_client, self._client_gone_at = True, None
        elif self._had_client:
            self._client_gone_at = self._client_gone_at or now
            if now - self._client_gone_at > CLIENT_LIMIT:
                self._coordinator.cancel(f"its client has been gone for {CLIENT_LIMIT:.0f} seconds", now)

    def _write_status(self) -> None:
        update, _ = self.update(Mark())
        try:
            self._folder.write_status(update.status)
        except OSError:
            logger.exception("could not write the status")

    # ------------------------------------------------------------ actions

    def _act(self) -> None:
        actions, self._coordinator.actions = self._coordinator.actions, []
        for action in actions:
            match action:
                case Send(index, incarnation, message):
                    self._service.send(index, incarnation, message)
                case StartWorker(index, incarnation):
                    instance = InstanceId("worker", index, incarnation)
                    self._spawn(self._platform.start(instance, self._worker_command(instance), self._worker_envs()))
                case KillWorker(index, incarnation):
                    self._spawn(self._platform.kill(InstanceId("worker", index, incarnation)))
                case CommitCheckpoint():
                    self._commit(action)
        self._service.wake_watchers()
        if self._coordinator.is_over:
            self._over.set()

    def _worker_command(self, instance: InstanceId) -> list[str]:
        return [
            sys.executable, "-m", "elasticdl_nb.runtime.worker", os.fspath(self._folder.path), self._address,
            str(instance.index), instance.incarnation,
        ]  # fmt: skip

    def _worker_envs(self) -> dict[str, str]:
        return {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1", **self._spec.envs}

    def _commit(self, action: CommitCheckpoint) -> None:
        try:
            final = checkpoints.commit(action.path, action.queue)
            self._coordinator.checkpoint_committed(final)
            checkpoints.prune(os.path.dirname(final), self._spec.keep_checkpoint_max)
        except OSError as error:
            self._coordinator.checkpoint_failed(f"a checkpoint could not be written: {error}", time.time())


def count(spec: JobSpec, option: str) -> list[FileRecords]:
    """Return the files of one data option with their numbers of records."""
    paths = spec.data if option == "data" else spec.validation_data
    return list(open_reader(paths, spec.data_reader_params, option).files()) if paths else []


def main(path: str, renderer: str = "") -> None:
    """Run the master of the job in this folder; `renderer` names what draws its dashboard, see `dashboard`."""
    folder = JobFolder(path)
    logging.basicConfig(level=folder.spec().log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with folder.hold_master_lock(), suppress(KeyboardInterrupt):
        asyncio.run(_run(folder, renderer))


async def _run(folder: JobFolder, renderer: str) -> None:
    await Master(folder, LocalPlatform(folder.log_path), renderer).run()
