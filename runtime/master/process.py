"""The master process: what processes, clients, the platform and the clock report becomes the job's events."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import uvloop

from elasticdl_nb.runtime.control import sizes
from elasticdl_nb.runtime.control.guarding import Guard
from elasticdl_nb.runtime.control.masterclient import last_status
from elasticdl_nb.runtime.control.status import conclude
from elasticdl_nb.runtime.data.chunks import FileRecords
from elasticdl_nb.runtime.data.discovery import Discovery
from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.master import clients, report
from elasticdl_nb.runtime.master.bookkeeper import Bookkeeper, defect
from elasticdl_nb.runtime.master.counting import count_data, discovery_of
from elasticdl_nb.runtime.master.dashboard import Dashboard
from elasticdl_nb.runtime.master.decisions import events
from elasticdl_nb.runtime.master.decisions.fed import Fed
from elasticdl_nb.runtime.master.decisions.kinds import coordinator_of
from elasticdl_nb.runtime.master.decisions.membership import Key
from elasticdl_nb.runtime.master.decisions.picture import Mark
from elasticdl_nb.runtime.master.executor import Executor, checkpoint_directory
from elasticdl_nb.runtime.master.feeder import Feeder
from elasticdl_nb.runtime.master.journal import Journal, JournalError
from elasticdl_nb.runtime.master.publisher import Publisher
from elasticdl_nb.runtime.master.service import MasterService
from elasticdl_nb.runtime.model.saving.beginning import checkpoint_of, is_trained_model
from elasticdl_nb.runtime.platform import gpus, supervisor
from elasticdl_nb.runtime.platform.base import InstanceId, Platform, Runs, Stuck
from elasticdl_nb.runtime.platform.early import EarlyProcess
from elasticdl_nb.runtime.platform.local import LocalPlatform
from elasticdl_nb.runtime.protocol import channels, master_pb2_grpc
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.auth import RequireToken
from elasticdl_nb.runtime.protocol.network import Network
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage import checkpoints, longlogs, ownership, publish, usedfiles
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

if TYPE_CHECKING:
    from elasticdl_nb.runtime.data.topics.growth import TopicDiscovery

STATUS_INTERVAL = 1.0

logger = logging.getLogger(__name__)


class Master:
    """One job's master, or the replacement of one that has died.

    Raises JournalError if the journal of the dead one cannot be read.
    """

    def __init__(self, folder: JobFolder, platform: Platform, *, supervised: bool) -> None:
        self._folder, self._platform, self._supervised = folder, platform, supervised
        self._spec = folder.spec()
        folder.make_temporary()
        self._journal = Journal(folder.path / "journal.db", shared=folder.is_shared)
        if self._journal.is_new and folder.master() is not None:
            raise JournalError("the job's journal is gone: the job cannot continue without it; start it again")
        self._coordinator = coordinator_of(self._spec)
        self._is_new = not self._journal.recover(self._coordinator)
        self._service = MasterService(self)
        self._books = Bookkeeper(self._coordinator, self._journal, self._service)
        renderer = folder.dashboard()
        self._network = Network.of()
        self._dashboard = self._make_dashboard(renderer) if renderer else None
        self._dashboard_url = self._status_problem = ""
        self._ends: Mapping[str, int] = {}
        self._behind = 0
        self._fed, self._listed = Fed(), ""
        self._background: set[asyncio.Task[None]] = set()
        self._owner = ownership.Owner.of(folder)
        self._feeder = Feeder(folder, self._note, time.monotonic)
        self._clients = clients.WaitingClients(folder.waited_for)

    async def run(self) -> None:
        """Serve until the job is over and all its processes are gone."""
        # Many tasks live long and few objects die in cycles: collect those less often than Python does by default.
        gc.set_threshold(50_000, 50, 50)
        server = grpc.aio.server(
            interceptors=[RequireToken(self._folder.token())],
            options=channels.server_options(sizes.largest_to_master(self._spec)),
        )
        master_pb2_grpc.add_MasterServicer_to_server(self._service, server)  # type: ignore[no-untyped-call]
        address = channels.listen(server, self._network, self._folder.token())
        executor = Executor(
            self._folder, self._spec, self._platform, address, spawn=self._spawn, happened=self._books.happened
        )  # fmt: skip
        self._books.carry_out = executor.carry_out
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._told_to_end)
        # Before any process is let in, so that those still alive are known to be.
        living = [] if self._is_new else [_key(instance) for instance in await self._platform.adopt()]
        await server.start()
        if self._dashboard is not None:
            self._dashboard_url = await self._dashboard.start()
        self._folder.write_master(address, self._dashboard_url)
        problem = self._claim_directory()
        if self._is_new:
            self._books.happened(events.Started(*(await asyncio.to_thread(self._beginning, problem))))
        else:
            self._books.happened(events.Recovered(tuple(living)))
        publisher = Publisher(self._folder, self._spec, lambda: self._coordinator.saved.newest, self._noted)
        for job in (
            self._watch_platform(), self._count_data(), self._tick(executor), self._follow(), publisher.run(),
        ):  # fmt: skip
            self._spawn(job)
        try:
            await self._books.over.wait()
        finally:
            await self._feeder.close()
            self._folder.remove_feeder()
            await _end_processes(self._folder, self._platform)
            for task in self._background:
                task.cancel()
            await publisher.end()
            self._write_status()
            if newest := self._coordinator.saved.path:  # perhaps what was cancelled had not begun to do so
                checkpoints.prune(newest, self._spec.keep_checkpoint_max, self._folder.identity)
            _leave_checkpoints(self._folder, self._spec)
            self._folder.mark_over()
            self._folder.wake_supervisor()
            self._service.wake_watchers()
            if self._dashboard is not None:
                await self._dashboard.close()
            await server.stop(grace=2.0)
            self._journal.remove()

    def _claim_directory(self) -> str:
        """Make the directory of checkpoints this job's; return why that is impossible, or an empty string."""
        if not self._spec.checkpoint_dir:
            return ""
        try:
            ownership.claim(self._spec.checkpoint_dir, self._owner)
        except (ownership.InUseError, OSError) as error:
            return f"checkpoint_dir: {error}"
        if self._is_new:  # left by a job that had the directory before and was killed
            checkpoints.discard_unfinished(self._spec.checkpoint_dir)
        return ""

    def _beginning(self, problem: str) -> tuple[tuple[str, ...], str]:
        """Return the checkpoints that the job may begin with, the best first, and why it cannot begin, if so."""
        try:
            return self._initial(), problem
        except (DataError, OSError) as error:
            return (), problem or f"checkpoint_dir_for_init: {error}"

    def _initial(self) -> tuple[str, ...]:
        given = self._spec.checkpoint_dir_for_init
        if self._spec.follow:  # no other than the one whose data is known to have been used
            if given and not is_trained_model(given):
                given = os.fspath(checkpoints.find(given))
            usedfiles.remember(self._folder, given)
        if is_trained_model(given):
            return (os.fspath(checkpoint_of(given, self._folder.path / "trained", self._folder.identity)),)
        return tuple(os.fspath(path) for path in checkpoints.candidates(given)) if given else ()

    def _noted(self, level: str, text: str) -> None:
        self._books.happened(events.Noted(level, text))

    def _make_dashboard(self, renderer: str) -> Dashboard:
        return Dashboard(
            renderer, lambda: self.update(Mark())[0].status, self._folder.token(), self._network.dashboard_port
        )

    def _told_to_end(self) -> None:
        if self._folder.is_shared:  # another pod takes over
            logger.warning("the master's pod is being terminated")
            os._exit(128 + signal.SIGTERM)
        self.cancel("the master was told to end")

    def _spawn(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guard(job))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _note(self, level: str, text: str) -> None:
        self._books.happened(events.Noted(level, text))

    async def _guard(self, job: Coroutine[Any, Any, None]) -> None:
        try:
            await job
        except Exception as error:  # a defect in the master must end the job loudly rather than let it hang
            logger.exception("the master failed")
            self._books.happened(defect(error))

    # ------------------------------------------------------------ events of the service (service.Events)

    def greeted(self, hello: pb.Hello) -> bool:
        """See `service.Events`."""
        self._books.happened(events.Greeted(hello))
        return self._coordinator.belongs(hello)

    def told(self, key: Key, message: pb.WorkerMessage) -> None:
        """See `service.Events`."""
        self._books.told(key, message)

    def cancel(self, reason: str) -> None:
        """See `service.Events`."""
        self._books.happened(events.Cancelled(reason))

    def scale(self, workers: int) -> str:
        """See `service.Events`."""
        problem = self._coordinator.scaling_problem(workers)
        if not problem:
            self._books.happened(events.Scaled(workers))
        return problem

    def stop(self, reason: str) -> str:
        """See `service.Events`."""
        problem = self._coordinator.stop_problem()
        if not problem:
            self._books.happened(events.StopAsked(reason))
        return problem

    def update(self, mark: Mark) -> tuple[pb.JobUpdate, Mark]:
        """See `service.Events`."""
        update, mark = report.update(
            self._coordinator, self._books.now(), time.time(), mark, name=self._folder.name, pid=os.getpid()
        )  # fmt: skip
        if self._fed.files:
            self._fed.fill(update.status, self._coordinator.queue.unfinished, self._listed)
        if not self._coordinator.is_over:
            update.status.dashboard_url = self._dashboard_url
            if self._behind:
                ahead = update.status.records_total - update.status.records_done
                update.status.records_behind = self._behind + ahead
            if self._ends and update.status.event_time:
                learnt, ahead = self._coordinator.queue.learnt, self._coordinator.tasks_ahead
                update.status.lag_seconds = learnt.lag(self._ends, time.time(), ahead=ahead > 0)
        return update, mark

    # ------------------------------------------------------------ events of the platform, the data and the clock

    async def _watch_platform(self) -> None:
        async for event in self._platform.events():
            instance, key = event.instance, _key(event.instance)
            name = f"{instance.role}-{instance.index}"
            if isinstance(event, Runs):
                self._books.happened(events.Runs(key))
                continue
            if isinstance(event, Stuck):
                logger.info("%s (%s): %s", name, instance.incarnation, event.reason or "starts")
                if event.hopeless:
                    self._books.happened(events.Failed(pb.Failure(message=f"{name}: {event.reason}")))
                else:
                    self._books.happened(events.Stuck(key, event.reason))
                continue
            logger.info("%s (%s) exited: %d %s", name, instance.incarnation, event.code, event.reason)
            if event.reason:
                self._books.happened(events.Lost(key, event.reason, event.counts, event.log_tail))
            else:
                self._books.happened(events.Exited(key, event.code, event.log_tail))

    async def _count_data(self) -> None:
        # With a custom reader workers count, by the user's code: the first of them will report the numbers.
        if not self._coordinator.data_is_counted and not self._spec.custom_data_reader:
            self._books.happened(await asyncio.to_thread(count_data, self._folder))

    async def _follow(self) -> None:
        """Follow the job's data; fail the job if the data is no longer what it was."""
        if not self._spec.follow:
            return
        try:
            await self._look_for_data()
        except DataError as error:
            self._books.happened(events.Failed(pb.Failure(message=str(error))))

    async def _look_for_data(self) -> None:
        """Report the files that appear in data that the job follows, until the job is to end."""
        while not self._coordinator.data_is_counted:
            await asyncio.sleep(STATUS_INTERVAL)
        discovery = await asyncio.to_thread(discovery_of, self._folder, self._coordinator.reached)
        found = discovery.listed_since(self._coordinator.files_found)  # by a master that died before it could say so
        self._note_listed(discovery.listed_since(0)[: self._coordinator.files_found])
        looks = 0  # since the job was told to stop
        while self._coordinator.queue.growing:
            begun = time.monotonic()
            waiting = self._coordinator.records_total - self._coordinator.queue.records_done["train"]
            await self._feeder.look(waiting=waiting, stop=self._coordinator.stopping)
            looks += self._coordinator.stopping and self._feeder.is_done
            ahead = self._coordinator.tasks_ahead
            if not isinstance(discovery, Discovery):
                await asyncio.to_thread(discovery.check, self._coordinator.queue.learnt.marks())
            found += await asyncio.to_thread(discovery.look, hurry=looks == 1, ahead=ahead)
            await self._tell_group(discovery)
            for problem in discovery.problems():
                self._note("warning", problem)
            # A file that has just appeared is looked at twice before it is used.
            last = looks > 1 or (looks == 1 and not discovery.waits)
            if found or last:
                self._books.happened(events.DataGrew(tuple(found), last=last))
            self._note_listed(found)
            found = []
            for path in self._folder.logs.glob("*.log"):
                with contextlib.suppress(OSError):  # a full disk, say
                    longlogs.cut(path)
            if not last:
                await asyncio.sleep(discovery.pause_after_look(time.monotonic() - begun))

    def _note_listed(self, found: Sequence[FileRecords]) -> None:
        """Note the last of the files that the job knows now, and read what their process says of them."""
        self._listed = found[-1].path if found else self._listed
        with suppress(FileNotFoundError):
            self._fed = Fed.from_json(self._folder.fed.read_text())

    async def _tell_group(self, discovery: Discovery | TopicDiscovery) -> None:
        """Tell tools that watch a topic's group how far the last checkpoint is; and users how much is to come."""
        if isinstance(discovery, Discovery):
            return
        self._behind, self._ends = discovery.behind, discovery.ends
        if newest := self._coordinator.saved.newest:
            await asyncio.to_thread(discovery.committed, usedfiles.used_up_to(newest.state))

    async def _tick(self, executor: Executor) -> None:
        guard = Guard(self._folder, is_master=True) if self._supervised else None
        renewed_at = 0.0
        while True:
            if self._spec.checkpoint_dir and self._books.now() - renewed_at > ownership.RENEW_SECONDS:
                renewed_at = self._books.now()
                self._spawn(asyncio.to_thread(ownership.renew, self._spec.checkpoint_dir, self._owner))
            self._books.happened(events.Ticked())
            if self._clients.are_gone(self._service.waiting_watchers, self._books.now()):
                self._books.happened(events.Cancelled(f"its client has been gone for {clients.LIMIT:.0f} seconds"))
            self._write_status()
            self._folder.show_life()
            if self._folder.optimizer.exists() and not self._coordinator.is_over:
                executor.keep_ready()
            if guard is not None and guard.look():
                logger.warning("the supervisor is gone; starting another one")
            await asyncio.sleep(STATUS_INTERVAL)

    def _write_status(self) -> None:
        update, _ = self.update(Mark())
        try:
            self._folder.write_status(update.status)
            self._status_problem = ""
        except OSError as error:
            if self._status_problem != str(error):  # once: whoever watches gets it from this process
                logger.warning("could not write the status: %s", error)
            self._status_problem = str(error)


def _key(instance: InstanceId) -> Key:
    return instance.role, instance.index, instance.incarnation


async def serve(folder: JobFolder, platform: Platform, *, supervised: bool) -> None:
    """Be the job's master until the job is over; end the job if its predecessor's journal cannot be read."""
    try:
        master = Master(folder, platform, supervised=supervised)
    except JournalError as error:
        logger.error("%s", error)
        await _give_up(folder, platform, str(error))
    else:
        await master.run()


async def _give_up(folder: JobFolder, platform: Platform, problem: str) -> None:
    """End a job of which only the last status shown to users and the living processes are known."""
    await platform.adopt()
    await _end_processes(folder, platform)
    status, now = last_status(folder), time.time()
    conclude(status, pb.FAILED, problem, now)
    status.failure.message = problem
    status.events.add(time=now, level="error", source="master", text=problem)
    folder.write_status(status)
    folder.mark_over()
    _leave_checkpoints(folder, folder.spec())


def _leave_checkpoints(folder: JobFolder, spec: JobSpec) -> None:
    """The job is over: tidy its directory of checkpoints, and let others have it."""
    directory, owner = checkpoint_directory(folder, spec), ownership.Owner.of(folder)
    if not ownership.taken_by(directory, owner.job):
        checkpoints.discard_unfinished(directory)
        ownership.release(directory, owner)


async def _end_processes(folder: JobFolder, platform: Platform) -> None:
    await platform.close()
    publish.clean(folder.path)  # left by a worker that was killed while writing
    folder.remove_temporary()


def main(path: str, supervised: str = "", *, workers: Sequence[EarlyProcess] = ()) -> None:
    """Run the master of the job in this folder; if `--supervised`, it is restarted when it dies.

    `workers` are processes that wait to become the job's first workers.
    """
    folder = JobFolder(path)
    logging.basicConfig(level=folder.spec().log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with folder.hold_master_lock(), suppress(KeyboardInterrupt):
        if folder.is_over():  # another master has ended the job while this one was starting
            return
        uvloop.run(_run(folder, supervised == supervisor.SUPERVISED, workers))


async def _run(folder: JobFolder, supervised: bool, workers: Sequence[EarlyProcess]) -> None:
    needed = folder.spec().num_workers
    for superfluous in workers[needed:]:
        superfluous.dismiss()
    shares = await asyncio.to_thread(gpus.shares_for, folder.spec())
    platform = LocalPlatform(folder.log_path, folder.processes, workers[:needed], shares)
    await serve(folder, platform, supervised=supervised)
