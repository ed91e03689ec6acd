"""The folder that holds everything about one job on this machine.

::

    NAME/
      spec.json       the JobSpec
      token           the secret that every call carries (mode 0600)
      zoo/            the model zoo, as copied or cloned at submission
      data/           frames handed over by the client, as Parquet
      master.json     address, dashboard and process id of the running master
      master.lock     locked by the master while it lives
      supervisor.lock locked, while it lives, by the process that restarts the master when it dies
      over            exists once the job has ended
      journal.db      what the master must know when it is restarted
      processes/      a file for each living process of the job
      begins_with/    what layers keep beside their weights, as its workers start from it
      version/        the version that it predicts with or evaluates, which the job that published it may remove
      form/           its model without what it learns, of which versions are made while it trains; see `publishing`
      optimizer.json  the optimizer of its parameter servers, once a worker has declared it
      waited_for      exists if a client waits, or has waited, for the job in the foreground
      client.lock     locked by the client while it prepares the job
      status.pb       the last JobStatus
      dashboard       what draws the job's dashboard
      feeder.json     the process that goes on writing its data, with that process' secrets (mode 0600), while it runs
      feeder.lock     locked by that process while it lives
      fed.json        how far its files are in the time of their events; see `master.decisions.fed`
      publication.json  where the result goes, and its digest; see `publish`
      logs/           a file per process
      checkpoints/    unless the job keeps them elsewhere
      tensorboard/    event files
      cluster.json    on the client's machine: where the job is on a cluster
      shared          exists if the folder is on a volume that the job's pods share
      parts/          predictions of tasks, until they are joined
      work/           the working directory of its processes, if the model reads files that the usual one lacks
      listings/       the job's data files, listed once, and where the rows of long CSV files are
      watched         touched from time to time while the page of a notebook follows the job by itself
      temporary       where its workers keep temporary files, until the job ends
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.errors import JobNotFound, OptionError, did_you_mean
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage.locks import Process, hold_lock, holder, is_locked, last_change

RECOVERY_SECONDS = 60.0
"""Seconds after the last sign of life of its supervisor in which a job without one counts as alive."""

WATCHED_SECONDS = 15.0
"""Seconds after the last sign of a page that follows the job by itself in which the job counts as watched."""


def jobs_root() -> Path:
    """Where this user's job folders are: $ELASTICDL_HOME/jobs, by default under the XDG state directory."""
    home = os.environ.get("ELASTICDL_HOME")
    if not home:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        home = os.fspath(Path(state) / "elasticdl")
    return Path(home) / "jobs"


class JobFolder:
    """Paths and small files of one job; see the module's docstring."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.name = self.path.name
        self.zoo = self.path / "zoo"
        self.callbacks = self.path / "callbacks"
        self.data = self.path / "data"
        self.logs = self.path / "logs"
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.parts = self.path / "parts"
        self.processes = self.path / "processes"
        self.begins_with = self.path / "begins_with"
        self.version = self.path / "version"
        self.form = self.path / "form"
        self.optimizer = self.path / "optimizer.json"
        self.waited_for = self.path / "waited_for"
        self.supervisor_lock = self.path / "supervisor.lock"

    # ------------------------------------------------------------ making and finding

    @classmethod
    def create(cls, spec: JobSpec) -> JobFolder:
        """Make the folder of a new job.

        A job that has ended makes room for a new one of the same name: its folder is kept as NAME~1, NAME~2, …
        Raises OptionError if a job of that name is running.
        """
        with cls.prepare(spec) as folder:
            return folder

    @classmethod
    @contextlib.contextmanager
    def prepare(cls, spec: JobSpec, token: str = "") -> Iterator[JobFolder]:
        """Make the folder of a new job, as `create` does, marked as in preparation until the block ends.

        The job gets a new secret, unless a `token` is given.

        An exception in the block removes the folder and returns the name to the job that had it before.
        """
        root = jobs_root()
        is_first = not root.exists()
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = cls(root / spec.job_name)
        folder._refuse_if_in_use()
        durable.clear_left_behind(folder.path)
        # Built aside, so that it is complete and marked when it appears.
        aside = cls(durable.aside_name(folder.path))
        aside.path.mkdir(mode=0o700)
        with hold_lock(aside.path / "client.lock"):
            try:
                for part in (aside.zoo, aside.data, aside.logs):
                    part.mkdir()
                durable.write(aside.path / "token", (token or secrets.token_hex(32)).encode(), mode=0o600)
                aside.write_spec(spec)
                former = aside._take_name(folder)
            except BaseException:
                aside.remove()
                raise
            try:
                yield folder
            except BaseException:
                folder.remove()
                if former is not None:
                    former.rename(folder.path)
                if is_first:  # leave no trace
                    with contextlib.suppress(OSError):
                        root.rmdir()
                raise

    def _take_name(self, target: JobFolder) -> Path | None:
        """Move this folder to the place of `target`; return where the ended job that was there has moved."""
        former = None
        for _ in range(100):
            try:
                self.path.rename(target.path)
                return former
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                target._refuse_if_in_use()
                former = target._make_room()
        raise OptionError("job_name", f"too many jobs named {target.name!r} are starting at once")

    def _refuse_if_in_use(self) -> None:
        if self.is_alive() or self.is_in_preparation():
            raise OptionError(
                "job_name",
                f"{self.name!r} is in use by a running job; choose another name, wait for it "
                f"(elasticdl attach {self.name}) or end it (elasticdl cancel {self.name})",
            )

    def _make_room(self) -> Path | None:
        taken = {path.name for path in self.path.parent.glob(f"{self.name}~*")}
        number = next(n for n in range(1, len(taken) + 2) if f"{self.name}~{n}" not in taken)
        with contextlib.suppress(FileNotFoundError):
            return self.path.rename(self.path.with_name(f"{self.name}~{number}"))
        return None

    @classmethod
    def find(cls, name: str) -> JobFolder:
        """Return the folder of a job of that name, running or ended; raise JobNotFound."""
        folder = cls(jobs_root() / name)
        if "/" in name or not _is_job(folder.path):
            known = [other.name for other in cls.all()]
            raise JobNotFound(f"no job named {name!r} on this machine.{did_you_mean(name, known)} See: elasticdl jobs")
        return folder

    @classmethod
    def all(cls) -> list[JobFolder]:
        """Every job known on this machine, newest first."""
        with contextlib.suppress(FileNotFoundError):
            folders = [path for path in jobs_root().iterdir() if _is_job(path)]
            return [cls(path) for path in sorted(folders, key=lambda path: -(path / "spec.json").stat().st_mtime)]
        return []

    def remove(self) -> None:
        """Delete the folder and everything in it."""
        self.remove_temporary()
        with contextlib.suppress(OSError):
            durable.take_away(self.path)
        durable.remove(self.path)  # if it could not be renamed

    # ------------------------------------------------------------ small files

    @property
    def _status_path(self) -> Path:
        return self.path / "status.pb"

    def token(self) -> str:
        """The secret that every call to the job's master carries."""
        return (self.path / "token").read_text()

    @property
    def identity(self) -> str:
        """What distinguishes this job from all others, those with the same name included. It is no secret."""
        return hashlib.blake2b(self.token().encode(), digest_size=6).hexdigest()

    def spec(self) -> JobSpec:
        """The job's declaration."""
        return JobSpec.from_json((self.path / "spec.json").read_text())

    def write_spec(self, spec: JobSpec) -> None:
        """Replace the job's declaration."""
        durable.write(self.path / "spec.json", spec.to_json().encode())

    def status(self) -> pb.JobStatus | None:
        """The last status that the master wrote, or None before the first."""
        with contextlib.suppress(FileNotFoundError):
            return pb.JobStatus.FromString(self._status_path.read_bytes())
        return None

    def write_status(self, status: pb.JobStatus) -> None:
        """Keep this status for later readers."""
        durable.write(self._status_path, status.SerializeToString(), flush=False)

    def master(self) -> dict[str, Any] | None:
        """{"address": …, "pid": …, "dashboard": URL} of the master (see protocol.channels); None before it listens."""
        with contextlib.suppress(FileNotFoundError):
            return dict(json.loads((self.path / "master.json").read_text()))
        return None

    def write_master(self, address: str, dashboard: str = "") -> None:
        """Record for clients where the master listens, and the URL of its dashboard.

        One that was killed while it did so has left a file.
        """
        for left in self.path.glob(".master.json.*"):
            left.unlink(missing_ok=True)
        values = {"address": address, "pid": os.getpid(), "dashboard": dashboard}
        durable.write(self.path / "master.json", json.dumps(values).encode(), mode=0o600)

    @property
    def fed(self) -> Path:
        """Where that process writes the times of its files."""
        return self.path / "fed.json"

    def feeder(self) -> tuple[str, dict[str, Any]]:
        """The module of the process that goes on writing the job's data, with its settings; "" if there is none."""
        with contextlib.suppress(FileNotFoundError):
            values = json.loads((self.path / "feeder.json").read_text())
            return values["module"], values["settings"]
        return "", {}

    def write_feeder(self, module: str, settings: Mapping[str, Any]) -> None:
        """Name the process that goes on writing the job's data. Its settings may hold a secret."""
        durable.write(
            self.path / "feeder.json", json.dumps({"module": module, "settings": dict(settings)}).encode(), mode=0o600
        )

    def remove_feeder(self) -> None:
        """Forget the process that wrote the job's data, and its secret."""
        (self.path / "feeder.json").unlink(missing_ok=True)

    def dashboard(self) -> str:
        """What draws the job's dashboard, as package.module:name, or empty."""
        with contextlib.suppress(FileNotFoundError):
            return (self.path / "dashboard").read_text()
        return ""

    def write_dashboard(self, renderer: str) -> None:
        """Name what draws the job's dashboard."""
        durable.write(self.path / "dashboard", renderer.encode())

    def cluster(self) -> dict[str, str] | None:
        """{"context": …, "namespace": …, "name": of the objects, "uid": …} of a job on a cluster; None for others."""
        with contextlib.suppress(FileNotFoundError):
            return dict(json.loads((self.path / "cluster.json").read_text()))
        return None

    def write_cluster(self, place: dict[str, str]) -> None:
        """Note where the job is on a cluster."""
        durable.write(self.path / "cluster.json", json.dumps(place).encode())

    # TensorFlow writes a file for each function that it compiles, and a killed process leaves them behind. This
    # folder is not in the job's own, because paths of sockets in it have to be short.

    @property
    def work(self) -> Path:
        """Where the job's processes work if the usual directory lacks the model's files; see `workfolder`."""
        return self.path / "work"

    @property
    def listings(self) -> Path:
        """What is known of the job's data: lists of files, and where their rows are."""
        return self.path / "listings"

    def temporary(self) -> Path | None:
        """Where the job's workers keep temporary files; None for pods, whose own disappear with them."""
        with contextlib.suppress(FileNotFoundError):
            return Path((self.path / "temporary").read_text())
        return None

    def make_temporary(self) -> None:
        """Make the folder for temporary files, unless it exists or the job runs in pods."""
        if self.is_shared:
            return
        if self.temporary() is None:  # noted before it is made, so that it is found whoever is killed
            path = os.path.join(tempfile.gettempdir(), f"elasticdl-{secrets.token_hex(8)}")
            durable.write(self.path / "temporary", path.encode())
        Path((self.path / "temporary").read_text()).mkdir(mode=0o700, exist_ok=True)

    def use_temporary(self) -> None:
        """Make this process and its children put temporary files there."""
        if (folder := self.temporary()) is not None:
            os.environ["TMPDIR"] = tempfile.tempdir = os.fspath(folder)

    def remove_temporary(self) -> None:
        """Delete the folder for temporary files and everything in it."""
        if (folder := self.temporary()) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            (self.path / "temporary").unlink(missing_ok=True)

    def remove_journal(self) -> None:
        """Delete what is left of the journal of a job that is over."""
        for path in self.path.glob("journal.db*"):
            path.unlink(missing_ok=True)

    def log_path(self, role: str, index: int | None = None) -> Path:
        """The log file of one process: logs/master.log, logs/worker-0.log."""
        return self.logs / (f"{role}.log" if index is None else f"{role}-{index}.log")

    # ------------------------------------------------------------ is the job alive?

    @contextlib.contextmanager
    def hold_master_lock(self) -> Iterator[None]:
        """Mark the job as having a master, until the block ends or the process dies in any way.

        Raises BlockingIOError if it already has one.
        """
        with hold_lock(self.path / "master.lock"):
            yield

    def master_pid(self) -> int:
        """The id of the master's process; 0 if there is none."""
        return holder(self.path / "master.lock")

    @property
    def is_shared(self) -> bool:
        """Whether pods share the folder; a pod cannot interpret another's locks and process ids."""
        return (self.path / "shared").exists()

    def mark_shared(self) -> None:
        """Record that pods share the folder."""
        (self.path / "shared").touch()

    def living_master(self) -> str:
        """The address of the master that is alive and listening; empty if there is none.

        In a shared folder, the address of the last master that listened.
        """
        master = self.master()
        if self.is_shared:
            return str(master["address"]) if master else ""
        return str(master["address"]) if master and master["pid"] == self.master_pid() else ""

    def has_master(self) -> bool:
        """Whether the job's master is alive."""
        return is_locked(self.path / "master.lock")

    def has_supervisor(self) -> bool:
        """Whether the process that restarts the master is alive."""
        return is_locked(self.supervisor_lock)

    def had_supervisor(self) -> bool:
        """Whether the job is one whose master is restarted by a supervisor."""
        return self.supervisor_lock.exists()

    def supervisor(self) -> int:
        """The id of the process that restarts the master; 0 if there is none."""
        return holder(self.supervisor_lock)

    def wake_supervisor(self) -> None:
        """Let a supervisor that has been stopped continue, so that it does not stay behind."""
        if pid := self.supervisor():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def show_life(self) -> None:
        """Record that the master, whose address is already written, is not hanging."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.path / "master.json")

    def is_alive(self) -> bool:
        """Whether the job's master is alive or will be restarted."""
        if self.is_shared or self.cluster():
            return not self.is_over()
        return self.has_master() or self.has_supervisor() or self._can_recover()

    def _can_recover(self) -> bool:
        """Whether one of the job's processes is about to start another supervisor and so another master."""
        if self.is_over() or time.time() - last_change(self.supervisor_lock) > RECOVERY_SECONDS:
            return False
        for path in self.processes.glob("*"):
            with contextlib.suppress(ValueError, FileNotFoundError):
                if Process.read(path).is_alive():
                    return True
        return False

    def mark_over(self) -> None:
        """Record that the job has ended, so that its master is not restarted, and forget its secret."""
        (self.path / "over").touch()
        self.remove_feeder()

    def is_over(self) -> bool:
        """Whether the job has ended."""
        return (self.path / "over").exists()

    def mark_waited_for(self) -> None:
        """Record that a client waits for the job, so that the job ends if the client is gone."""
        self.waited_for.touch()

    def mark_watched(self) -> None:
        """Record that a page follows the job by itself."""
        (self.path / "watched").touch()

    def is_watched(self) -> bool:
        """Whether a page has followed the job by itself in the last `WATCHED_SECONDS`."""
        return time.time() - last_change(self.path / "watched") < WATCHED_SECONDS

    def is_in_preparation(self) -> bool:
        """Whether a client is still preparing the job, which has no master yet."""
        return is_locked(self.path / "client.lock")


def _is_job(path: Path) -> bool:
    return not path.name.startswith(".") and (path / "spec.json").exists()
