"""The master process: carries events to the coordinator and its actions to workers, files and watchers."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import uvloop

from elasticdl_nb.runtime.data.reader import FileRecords, open_reader
from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.master import report
from elasticdl_nb.runtime.master.dashboard import Dashboard
from elasticdl_nb.runtime.master.decisions.actions import (
    Action,
    BeginCheckpoint,
    CommitCheckpoint,
    DiscardCheckpoint,
    Kill,
    Send,
    Start,
)
from elasticdl_nb.runtime.master.decisions.coordinator import Coordinator
from elasticdl_nb.runtime.master.decisions.membership import Key
from elasticdl_nb.runtime.master.decisions.picture import Mark
from elasticdl_nb.runtime.master.decisions.ring_coordinator import RingCoordinator
from elasticdl_nb.runtime.master.decisions.server_coordinator import ServedCoordinator
from elasticdl_nb.runtime.master.journal import Journal
from elasticdl_nb.runtime.master.service import MasterService
from elasticdl_nb.runtime.platform import supervisor
from elasticdl_nb.runtime.platform.base import InstanceId, Platform, Stuck
from elasticdl_nb.runtime.platform.early import EarlyProcess
from elasticdl_nb.runtime.platform.local import WORKER_ENVS, LocalPlatform
from elasticdl_nb.runtime.protocol import channels, master_pb2_grpc
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.auth import RequireToken
from elasticdl_nb.runtime.protocol.network import Network
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage import checkpoints, publish
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

CLIENT_LIMIT = 60.0
"""Seconds that a job goes on after the last client that waited for it has gone."""

STATUS_INTERVAL = 1.0
logger = logging.getLogger(__name__)


class Master:
    """One job's master, or the one that takes the place of one that has died."""

    def __init__(self, folder: JobFolder, platform: Platform, *, supervised: bool) -> None:
        self._folder, self._platform, self._supervised = folder, platform, supervised
        self._spec = folder.spec()
        folder.make_temporary()
        self._journal = Journal(folder.path / "journal.db", shared=folder.is_shared)
        recovered = self._journal.recover()
        self._is_new = recovered is None
        self._coordinator = recovered or coordinator_of(self._spec, time.time())
        if self._is_new:
            self._journal.replace(self._coordinator)
        self._service = MasterService(self)
        renderer = folder.dashboard()
        self._network = Network.of()
        self._dashboard = self._make_dashboard(renderer) if renderer else None
        self._dashboard_url = ""
        self._over = asyncio.Event()
        self._to_do: deque[Action] = deque()
        self._acting = False
        # Until the events that they follow from are committed: messages, and what can be acknowledged.
        self._outgoing: list[tuple[Key, pb.MasterMessage]] = []
        self._heard: dict[Key, int] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._client_gone_at: float | None = None
        self._had_client = (folder.path / "waited_for").exists()

    async def run(self) -> None:
        """Serve until the job is over and every process of it is gone."""
        # Many tasks live long and few things die in cycles: look for those less often than Python does by itself.
        gc.set_threshold(50_000, 50, 50)
        server = grpc.aio.server(
            interceptors=[RequireToken(self._folder.token())],
            options=[("grpc.max_receive_message_length", 64 << 20), ("grpc.so_reuseport", 0)],
        )
        master_pb2_grpc.add_MasterServicer_to_server(self._service, server)  # type: ignore[no-untyped-call]
        self._address = channels.listen(server, self._network, self._folder.token())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._told_to_end)
        # Before anyone is let in, so that processes that live still are known to do so.
        living = [] if self._is_new else [_key(instance) for instance in await self._platform.adopt()]
        await server.start()
        if self._dashboard is not None:
            self._dashboard_url = await self._dashboard.start()
        self._folder.write_master(self._address, self._dashboard_url)
        if self._is_new:
            self._happened("start")
        else:
            self._happened("recovered", living)
        for job in (self._watch_platform(), self._count_data(), self._tick()):
            self._spawn(job)
        try:
            await self._over.wait()
        finally:
            await self._platform.close()
            publish.clean(self._folder.path)  # of a worker that was killed while it wrote
            self._folder.remove_temporary()
            for task in self._background:
                task.cancel()
            self._write_status()
            self._folder.mark_over()
            self._service.wake_watchers()
            if self._dashboard is not None:
                await self._dashboard.close()
            await server.stop(grace=2.0)
            self._journal.remove()
            checkpoints.discard_unfinished(self._checkpoint_directory())

    def _make_dashboard(self, renderer: str) -> Dashboard:
        return Dashboard(
            renderer, lambda: self.update(Mark())[0].status, self._folder.token(), self._network.dashboard_port
        )

    def _told_to_end(self) -> None:
        if self._folder.is_shared:  # another pod takes its place
            logger.warning("the master's pod is to end")
            os._exit(128 + signal.SIGTERM)
        self.cancel("the master was told to end")

    def _spawn(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guard(job))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _guard(self, job: Coroutine[Any, Any, None]) -> None:
        try:
            await job
        except Exception as error:  # a defect of the master must end the job loudly rather than let it hang
            logger.exception("the master failed")
            self._happened("fail", pb.Failure(message=f"the master failed: {error!r}"))

    def _happened(self, event: str, *arguments: Any) -> Any:
        """Tell the coordinator, then the journal, and do what follows."""
        told = (*arguments, time.time())
        try:
            result = getattr(self._coordinator, event)(*told)
        except (
            Exception
        ) as error:  # a defect must end the job loudly, rather than meet the same message again and again
            logger.exception("the master failed at %s", event)
            result = False
            event, told = "fail", (pb.Failure(message=f"the master failed: {error!r}"), told[-1])
            self._coordinator.fail(*told)
        if (event != "tick" or result) and self._journal.append(event, told):
            asyncio.get_running_loop().call_soon(self._commit_events)
        self._act()
        return result

    def _commit_events(self) -> None:
        """What has happened in this turn of the loop is safe from now on: tell those whom it concerns."""
        try:
            self._journal.commit(self._coordinator)
        except sqlite3.Error as error:  # without it no other master could go on: better to end than to forget
            logger.exception("the journal could not be written")
            self._coordinator.fail(pb.Failure(message=f"the job's journal could not be written: {error}"), time.time())
            self._act()
        outgoing, self._outgoing = self._outgoing, []
        for key, message in outgoing:
            self._service.send(key, message)
        heard, self._heard = self._heard, {}
        for key, sequence in heard.items():
            self._service.acknowledge(key, sequence)

    # ------------------------------------------------------------ events of the service (service.Events)

    def greeted(self, hello: pb.Hello) -> bool:
        """See `service.Events`."""
        return bool(self._happened("hello", hello))

    def told(self, key: Key, message: pb.WorkerMessage) -> None:
        """See `service.Events`."""
        self._happened("message", key, message)
        if message.sequence:
            self._heard[key] = message.sequence

    def cancel(self, reason: str) -> None:
        """See `service.Events`."""
        self._happened("cancel", reason)

    def scale(self, workers: int) -> str:
        """See `service.Events`."""
        return str(self._happened("scale", workers))

    def update(self, mark: Mark) -> tuple[pb.JobUpdate, Mark]:
        """See `service.Events`."""
        update, mark = report.update(self._coordinator, time.time(), mark, name=self._folder.name, pid=os.getpid())
        if not self._coordinator.is_over:
            update.status.dashboard_url = self._dashboard_url
        return update, mark

    # ------------------------------------------------------------ events of the platform, the data and the clock

    async def _watch_platform(self) -> None:
        async for event in self._platform.events():
            instance, key = event.instance, _key(event.instance)
            name = f"{instance.role}-{instance.index}"
            if isinstance(event, Stuck):
                logger.info("%s (%s): %s", name, instance.incarnation, event.reason or "starts")
                if event.hopeless:
                    self._happened("fail", pb.Failure(message=f"{name}: {event.reason}"))
                else:
                    self._happened("stuck", key, event.reason)
                continue
            logger.info("%s (%s) exited: %d %s", name, instance.incarnation, event.code, event.reason)
            if event.reason:
                self._happened("lost", key, event.reason, event.counts, event.log_tail)
            else:
                self._happened("exited", key, event.code, event.log_tail)

    async def _count_data(self) -> None:
        if self._coordinator.data_is_counted:
            return
        if self._spec.custom_data_reader:
            return  # the user's code, which workers run: one of them will say
        try:
            data = await asyncio.to_thread(count, self._spec, "data")
            validation = await asyncio.to_thread(count, self._spec, "validation_data")
        except (ElasticDLError, OSError) as error:
            self._happened("fail", pb.Failure(message=str(error)))
        else:
            self._happened("data_counted", data, validation)

    async def _tick(self) -> None:
        while True:
            self._happened("tick")
            self._look_for_client(time.time())
            self._write_status()
            self._folder.show_life()
            if self._supervised and not self._folder.has_supervisor():
                self._start_supervisor()
            await asyncio.sleep(STATUS_INTERVAL)

    def _look_for_client(self, now: float) -> None:
        if self._service.waiting_watchers:
            if not self._had_client:
                (self._folder.path / "waited_for").touch()
            self._had_client, self._client_gone_at = True, None
        elif self._had_client:
            self._client_gone_at = self._client_gone_at or now
            if now - self._client_gone_at > CLIENT_LIMIT:
                self._happened("cancel", f"its client has been gone for {CLIENT_LIMIT:.0f} seconds")

    def _start_supervisor(self) -> None:
        logger.warning("the supervisor is gone; another one is started")
        child = subprocess.Popen(
            supervisor.command(self._folder.path, os.getpid()), stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._spawn(_bury(child))

    def _write_status(self) -> None:
        update, _ = self.update(Mark())
        try:
            self._folder.write_status(update.status)
        except OSError:
            logger.exception("could not write the status")

    # ------------------------------------------------------------ actions

    def _act(self) -> None:
        self._to_do.extend(self._coordinator.actions)
        self._coordinator.actions.clear()
        if self._acting:  # an action has made something happen: what follows waits for its turn
            return
        self._acting = True
        try:
            while self._to_do:
                self._carry_out(self._to_do.popleft())
        finally:
            self._acting = False
        self._service.wake_watchers()
        if self._coordinator.is_over:
            self._over.set()

    def _carry_out(self, action: Action) -> None:
        match action:
            case Send(key, message):
                self._outgoing.append((key, message))
            case Start(key):
                instance = InstanceId(*key)
                self._spawn(self._platform.start(instance, self._command(instance), self._envs(instance)))
            case Kill(key):
                self._spawn(self._platform.kill(InstanceId(*key)))
            case BeginCheckpoint(number, step):
                self._begin_checkpoint(number, step)
            case CommitCheckpoint():
                self._spawn(self._commit(action))
            case DiscardCheckpoint(path):
                self._spawn(asyncio.to_thread(shutil.rmtree, path, ignore_errors=True))

    def _command(self, instance: InstanceId) -> list[str]:
        return [
            sys.executable, "-m", f"elasticdl_nb.runtime.{instance.role}", os.fspath(self._folder.path), self._address,
            str(instance.index), instance.incarnation,
        ]  # fmt: skip

    def _envs(self, instance: InstanceId) -> dict[str, str]:
        return {**WORKER_ENVS, **self._spec.envs}

    def _checkpoint_directory(self) -> str:
        return self._spec.checkpoint_dir or os.fspath(self._folder.checkpoints)

    def _begin_checkpoint(self, number: int, step: int) -> None:
        try:
            path = checkpoints.begin(self._checkpoint_directory(), step)
        except OSError as error:
            self._happened("checkpoint_failed", "", str(error))
        else:
            self._happened("checkpoint_begun", number, os.fspath(path))

    async def _commit(self, action: CommitCheckpoint) -> None:
        try:
            final = await asyncio.to_thread(_complete, action)
            checkpoints.prune(os.path.dirname(final), self._spec.keep_checkpoint_max)
        except OSError as error:
            shutil.rmtree(action.path, ignore_errors=True)
            self._happened("checkpoint_failed", action.path, str(error))
        else:
            self._happened("checkpoint_committed", action.path, final)


async def _bury(child: subprocess.Popen[bytes]) -> None:
    await asyncio.to_thread(child.wait)


def _complete(action: CommitCheckpoint) -> str:
    if not action.sealed and os.path.exists(action.path):
        checkpoints.seal(Path(action.path), action.step)
    return checkpoints.commit(action.path, action.state)


def _key(instance: InstanceId) -> Key:
    return instance.role, instance.index, instance.incarnation


def coordinator_of(spec: JobSpec, now: float) -> Coordinator:
    """Return the coordinator for this kind of job."""
    if spec.uses_allreduce:
        return RingCoordinator(spec, now)
    return ServedCoordinator(spec, now) if spec.uses_servers else Coordinator(spec, now)


def count(spec: JobSpec, option: str) -> list[FileRecords]:
    """Return the files of one data option with their numbers of records."""
    paths = spec.data if option == "data" else spec.validation_data
    return list(open_reader(paths, spec.data_reader_params, option).files()) if paths else []


def main(path: str, supervised: str = "", *, worker: EarlyProcess | None = None) -> None:
    """Run the master of the job in this folder, one that is started again when it dies if it is `--supervised`.

    `worker` is a process that waits to become the job's first worker.
    """
    folder = JobFolder(path)
    logging.basicConfig(level=folder.spec().log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with folder.hold_master_lock(), suppress(KeyboardInterrupt):
        uvloop.run(_run(folder, supervised == supervisor.SUPERVISED, worker))


async def _run(folder: JobFolder, supervised: bool, worker: EarlyProcess | None) -> None:
    platform = LocalPlatform(folder.log_path, folder.processes, worker)
    await Master(folder, platform, supervised=supervised).run()
