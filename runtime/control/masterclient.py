"""Talking to a job's master: watch its status stream, cancel it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from elasticdl_nb.runtime.control.guarding import revive
from elasticdl_nb.runtime.control.status import conclude, is_over, merge
from elasticdl_nb.runtime.errors import JobError, OptionError
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

if TYPE_CHECKING:
    import grpc

_RETRY_SECONDS = 0.1
_CALL_SECONDS = 10.0
_MAX_REVIVALS = 5


class MasterClient:
    """Calls to the master of one job; a context manager.

    `dashboard` is the dashboard's URL as seen from this machine, if it differs from the master's own.
    Every method raises ConnectionError when the master is unreachable or refuses the call, and TimeoutError when the
    call takes too long.
    """

    def __init__(self, address: str, token: str, dashboard: str = "") -> None:
        # Imported here, as gRPC takes longer to import than everything else that clients need together.
        import grpc.experimental

        from elasticdl_nb.runtime.protocol import channels
        from elasticdl_nb.runtime.protocol.master_pb2_grpc import MasterStub

        # The thread that asks for a stream reads it: one thread less per watcher, and half the processor time.
        options = [
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_receive_message_length", -1),
            (grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1),
        ]
        self._channel = channels.connect(address, token, options)
        self._stub = MasterStub(self._channel)  # type: ignore[no-untyped-call]
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._address, self._dashboard = address, dashboard

    def watch(
        self, waiting: bool = False, timeout: float | None = None, interval: float = 0.0
    ) -> Iterator[pb.JobStatus]:
        """Yield the job's complete status whenever it changes, until the master ends the stream.

        At least `interval` seconds pass between two of them.
        `waiting` means that a person or program waits for the job in the foreground: the master cancels a job that
        all such watchers have left.
        """
        import grpc

        status = pb.JobStatus()
        request = pb.WatchRequest(waiting=waiting, interval=interval)
        stream = self._stub.WatchJob(request, timeout=timeout, metadata=self._metadata)
        try:
            for update in stream:
                status = merge(status, update)
                if status.dashboard_url:
                    status.dashboard_url = self._dashboard or status.dashboard_url
                yield status
        except grpc.RpcError as error:
            raise self._translate(error) from None
        finally:
            stream.cancel()

    def status(self) -> pb.JobStatus:
        """Return the job's current status."""
        for status in self.watch(timeout=_CALL_SECONDS):
            return status
        raise ConnectionError(f"the master at {self._address} ended the call without an answer")

    def cancel(self, reason: str) -> None:
        """Ask the master to end the job. It does so within seconds; the status shows when it has."""
        import grpc

        try:
            self._stub.CancelJob(pb.CancelRequest(reason=reason), timeout=_CALL_SECONDS, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._translate(error) from None

    def scale(self, workers: int) -> None:
        """Ask the master to continue with this many workers."""
        import grpc

        try:
            self._stub.ScaleJob(pb.ScaleRequest(workers=workers), timeout=_CALL_SECONDS, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._translate(error) from None

    def stop(self, reason: str) -> None:
        """Ask the master to end a training that follows its data, with a trained model."""
        import grpc

        try:
            self._stub.StopJob(pb.StopRequest(reason=reason), timeout=_CALL_SECONDS, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._translate(error) from None

    def _translate(self, error: grpc.RpcError) -> ConnectionError | TimeoutError:
        import grpc

        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return TimeoutError(f"no answer in time from the master at {self._address}")
        return ConnectionError(f"the master at {self._address}: {error.details()}")

    def close(self) -> None:
        """End all calls."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(folder: JobFolder) -> MasterClient | None:
    """Return a client of the job's master, or None if the master is dead or not listening yet."""
    address = folder.living_master()
    if not address:
        return None
    return MasterClient(address, folder.token(), (folder.master() or {}).get("dashboard", ""))


def current_status(folder: JobFolder) -> pb.JobStatus:
    """Return the job's status: from its master if it is alive, else from the job's folder."""
    try:
        client = connect(folder)
        if client is not None:
            with client:
                return client.status()
    except (ConnectionError, TimeoutError):
        pass
    return last_status(folder)


def last_status(folder: JobFolder) -> pb.JobStatus:
    """Return the status according to the job's folder; a job that lost its master has failed."""
    # In this order: a master writes its last status before it releases its lock.
    alive = folder.is_alive() or folder.is_in_preparation()
    status = folder.status()
    if status is None:
        spec = folder.spec()
        status = pb.JobStatus(
            name=folder.name, kind=spec.kind, num_epochs=spec.num_epochs, remaining_seconds=-1, detail="starting"
        )
    if alive or is_over(status):
        return status
    conclude(status, pb.FAILED, "its master died", status.updated_at or (folder.path / "spec.json").stat().st_mtime)
    status.failure.message = f"the job's master died without reporting why; see {folder.log_path('master')}"
    return status


def watch_job(
    folder: JobFolder, *, waiting: bool = False, timeout: float | None = None, interval: float = 0.0
) -> Iterator[pb.JobStatus]:
    """Yield the job's complete status whenever it changes, but at most once every `interval` seconds.

    The last status is that of a job that is over.
    Finds the job's master again when the connection breaks or the master is restarted. If every process of the job is
    killed meanwhile, starts it again, so that it goes on where it was. Raises TimeoutError if the job is not over after
    `timeout` seconds.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    told = ""
    revivals = _MAX_REVIVALS if folder.is_alive() else 0
    while True:
        client = connect(folder)
        if client is not None:
            try:
                with client:
                    left = None if deadline is None else max(deadline - time.monotonic(), 0.001)
                    for status in client.watch(waiting, left, interval):
                        yield status
                        if is_over(status):
                            return
            except (ConnectionError, TimeoutError):
                pass
        status = last_status(folder)
        if is_over(status) and revivals and revive(folder):
            revivals -= 1
        elif is_over(status):
            yield status
            return
        if folder.cluster() and status.detail != told:  # what the master's pod waits for
            told = status.detail
            yield status
        if deadline is not None and time.monotonic() >= deadline:
            raise TimeoutError(f"job {folder.name} is not over after {timeout:g} seconds")
        time.sleep(_RETRY_SECONDS)


def scale_job(folder: JobFolder, workers: int) -> None:
    """Make a running job continue with this many workers.

    Raises OptionError if the job cannot have that many, and JobError if it is over or its master is unreachable.
    """
    spec = folder.spec()
    if spec.trains_alone:
        raise OptionError("workers", "Local training uses one worker; the other strategies take any number")
    if workers < 1:
        raise OptionError("workers", f"{workers} is not valid: expected at least 1")
    if problem := _asked(folder, lambda client: client.scale(workers)):
        raise JobError(f"job {folder.name} cannot be scaled: {problem}")


def stop_job(folder: JobFolder, reason: str) -> None:
    """Ask for the end of a training that follows its data, with a trained model.

    Raises JobError if the job is of another kind, or over, or if its master is unreachable.
    """
    if not folder.spec().follow:
        raise JobError(
            f"job {folder.name} cannot be stopped: only a training with follow can be; others end by themselves, or "
            "are cancelled"
        )
    if problem := _asked(folder, lambda client: client.stop(reason)):
        raise JobError(f"job {folder.name} cannot be stopped: {problem}")


def _asked(folder: JobFolder, ask: Callable[[MasterClient], None]) -> str:
    """Ask a running job's master for something; return why that was impossible, or an empty string."""
    problem = "it is over"
    deadline = time.monotonic() + _CALL_SECONDS
    while folder.is_alive() and time.monotonic() < deadline:
        client = connect(folder)
        try:
            if client is not None:
                with client:
                    ask(client)
                    return ""
        except (ConnectionError, TimeoutError) as error:
            problem = str(error)
        time.sleep(_RETRY_SECONDS)
    return problem
