"""A parameter server's process: serves workers, obeys the master."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from elasticdl_nb.runtime.control.masterstream import MasterStream
from elasticdl_nb.runtime.errors import DamagedCheckpoint, ElasticDLError
from elasticdl_nb.runtime.imports import only_what_computes
from elasticdl_nb.runtime.parameters.checkpoints.chain import own_names
from elasticdl_nb.runtime.parameters.checkpoints.local import is_local
from elasticdl_nb.runtime.parameters.generations import StoreService
from elasticdl_nb.runtime.parameters.store import UpdatePolicy
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.network import Network
from elasticdl_nb.runtime.ps.inprocess import deltas_of
from elasticdl_nb.runtime.ps.server import ParameterServer
from elasticdl_nb.runtime.ps.writer import beside, write_in_background
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage import checkpoints
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

HEARTBEAT = 1.0
logger = logging.getLogger(__name__)


def policy_of(spec: JobSpec) -> UpdatePolicy:
    """Return how a job's servers take gradients."""
    if spec.use_async:
        return UpdatePolicy(staleness_modulation=spec.lr_staleness_modulation)
    return UpdatePolicy(spec.grads_to_wait, spec.sync_version_tolerance)


def users_optimizer(folder: JobFolder, _config: Mapping[str, Any]) -> Any:
    """Return the optimizer object of the job's model definition (imports TensorFlow and the user's code)."""
    with only_what_computes():
        from elasticdl_nb.runtime.model.loading.loader import load
        from elasticdl_nb.runtime.model.modelsource import ModelSource

    return load(ModelSource.of(folder.spec(), folder).definition).make_optimizer()


def intact(path: Path, server: int, servers: int) -> Path:
    """Return the path of a checkpoint; raise DamagedCheckpoint if a part that this server needs is not intact."""
    mine = own_names(path, server, servers) if path.is_dir() else []
    if is_local(path) or not mine:
        return checkpoints.find(path)
    checkpoints.verify(path, contents_of=mine)
    return path


class ServerProcess:
    """One parameter server of a job, from its start to its end."""

    def __init__(self, folder: JobFolder, master: str, index: int, incarnation: str) -> None:
        spec = folder.spec()
        self._service = StoreService(
            policy_of(spec), server=index, servers=spec.num_ps, make_optimizer=partial(users_optimizer, folder),
            remembered=folder.optimizer, deltas=deltas_of(spec), beside=beside,
        )  # fmt: skip
        self._server = ParameterServer(
            self._service, folder.token(), Network.of(), folder=folder.temporary(), records=spec.minibatch_size
        )
        self._progress = pb.Progress(activity="serving")
        self._over = threading.Event()
        hello = pb.Hello(
            role="ps", worker=index, incarnation=incarnation, pid=os.getpid(), data_address=self._server.address
        )
        self._stream = MasterStream(folder, master, hello, self._receive)

    def run(self) -> None:
        """Serve until the master says that the job is over."""
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        self._service.warm_up()  # while the stream says hello
        self._server.run()
        self._over.set()
        self._stream.close()

    # ------------------------------------------------------------ other threads

    def _receive(self, message: pb.MasterMessage) -> None:
        match message.WhichOneof("body"):
            case "restore":
                self._server.post(partial(self._restore, message.restore))
            case "snapshot":
                self._server.post(partial(self._snapshot, message.snapshot))
            case "leave":
                self._server.stop()

    def _beat(self) -> None:
        """Report to the master that this process is alive, even while its loop is busy, and what it last held."""
        while not self._over.is_set():
            self._stream.tell(progress=self._progress)
            self._server.post(self._look)
            self._over.wait(HEARTBEAT)

    # ------------------------------------------------------------ on the server's loop

    def _look(self) -> None:
        if self._service.declared:
            store = self._service.store
            self._progress = pb.Progress(activity="serving", step=store.version, **store.held()._asdict())
        else:
            self._progress = pb.Progress(activity="serving")

    def _restore(self, command: pb.Restore) -> None:
        done = pb.RestoreDone(generation=command.generation)
        if command.generation != self._service.generation:
            self._progress = pb.Progress(activity="restoring")
            try:
                done.step = self._begin(command)
            except (ElasticDLError, OSError) as error:
                logger.error("cannot restore %s: %s", command.path, error)
                done.failure.CopyFrom(_failure(error))
        elif self._service.declared:
            done.step = self._service.store.version
        self._stream.send(restore_done=done)

    def _begin(self, command: pb.Restore) -> int:
        service = self._service
        # It may be read far later, when a worker declares the model.
        path = intact(Path(command.path), service.server, service.servers) if command.path else ""
        return service.begin(command.generation, path, keep_version=command.keep_step)

    def _snapshot(self, command: pb.Snapshot) -> None:
        written = pb.SnapshotWritten(number=command.number)
        try:
            if command.generation != self._service.generation:
                raise ElasticDLError(f"generation {self._service.generation} is current, not {command.generation}")
            captured = self._service.capture(Path(command.path))
        except (ElasticDLError, OSError) as error:
            written.failure.CopyFrom(_failure(error))
            self._stream.send(snapshot_written=written)
            return

        def done(error: OSError | None) -> None:
            if error is not None:
                logger.error("cannot write a checkpoint into %s: %s", command.path, error)
                written.failure.CopyFrom(_failure(error))
            else:
                captured.written()
            self._stream.send(snapshot_written=written)

        step = self._service.store.version
        self._stream.send(snapshot_captured=pb.SnapshotCaptured(number=command.number, step=step))
        self._server.run_between(write_in_background(captured.path, captured.frames, done))


def _failure(error: Exception) -> pb.Failure:
    message = str(error) if isinstance(error, ElasticDLError) else f"{type(error).__name__}: {error}"
    damaged = error.checkpoint if isinstance(error, DamagedCheckpoint) else ""
    return pb.Failure(message=message, transient=isinstance(error, OSError), checkpoint=damaged)
