"""`Job`: the handle of one job, running or ended."""

from __future__ import annotations

import importlib
import importlib.util
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from elasticdl_nb.job import launch
from elasticdl_nb.job.figure import Figure
from elasticdl_nb.job.frontend import in_live_notebook
from elasticdl_nb.job.history import History, Tested
from elasticdl_nb.runtime.control.masterclient import connect, current_status, scale_job, stop_job, watch_job
from elasticdl_nb.runtime.control.status import (
    format_count,
    format_metrics,
    is_over,
    latest_metrics,
    phase_name,
)
from elasticdl_nb.runtime.errors import ClusterError, JobCancelled, JobError, JobFailed, JobNotFound
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage import publish
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

if TYPE_CHECKING:
    import keras
    import pandas as pd
    import pyarrow as pa

    from elasticdl_nb.job.terminal import Progress

# After a job has ended, its master gets this many seconds to exit before it is asked to, and then forced to.
_PATIENCE_SECONDS = 10.0
# The same for a cluster, which has pods to remove.
_CLUSTER_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.01
# After an interrupt, another one within this many seconds cancels the job.
_SECOND_THOUGHTS_SECONDS = 2.0
# The job view is in a layer above this one, and is loaded when it is shown.
_RENDERER = "elasticdl_nb.widgets.render"
_LIVE = "elasticdl_nb.widgets.liveoutput"
_FIGURES = "elasticdl_nb.widgets.figure"


class Job:
    """A job, on this machine or on a cluster. `train`, `evaluate`, `predict`, `attach` and `jobs` return them.

    `foreground` means that the job ends with the processes that wait for it: an interrupt of `wait` cancels it, and
    so does its master once nobody has waited for a minute.
    """

    def __init__(self, folder: JobFolder, *, foreground: bool = False) -> None:
        self.folder = folder
        self._foreground = foreground
        self._waiting = 0

    @property
    def is_waited_for(self) -> bool:
        """Whether someone is currently waiting through this object."""
        return self._waiting > 0

    @property
    def name(self) -> str:
        """The job's name."""
        return self.folder.name

    @property
    def spec(self) -> JobSpec:
        """The job's options."""
        return self.folder.spec()

    # ------------------------------------------------------------ progress

    def status(self) -> pb.JobStatus:
        """Return the job's current status: from its master or, if that has ended, its last one.

        A job whose master died before the end of the job counts as failed.
        """
        return current_status(self.folder)

    def watch(self, interval: float = 0.0) -> Iterator[pb.JobStatus]:
        """Yield the job's status whenever it changes, a few times a second; the last one is final.

        With an `interval`, there are at least this many seconds between two.
        """
        return watch_job(self.folder, interval=interval)

    @property
    def metrics(self) -> dict[str, float]:
        """Values of the latest evaluation, by name. Waits for the first one, or for the end of a job without any.

        Raises JobFailed or JobCancelled if the job ends without one.
        """
        status = self.status()
        if not status.evaluations and not is_over(status):
            status = next(status for status in self.watch() if status.evaluations or is_over(status))
        if not status.evaluations:
            raise_for(self, status)
        return latest_metrics(status)

    @property
    def evaluations(self) -> list[pb.Evaluation]:
        """Every evaluation so far, in order: `step`, `time`, `records` and `metrics`."""
        return list(self.status().evaluations)

    @property
    def losses(self) -> list[tuple[int, float]]:
        """The loss curve as (step, loss) pairs, at most about 1,000 of them."""
        return [(point.step, point.loss) for point in self.status().losses]

    @property
    def history(self) -> History:
        """What `model.fit` returns as `History.history`: values by name, one for each epoch that has ended.

        With several workers, the values are for all their records. Of very many epochs, some are left out.
        """
        status = self.status()
        return History(status.history, status.evaluations)

    @property
    def tested(self) -> Tested:
        """The metrics of a training with `prequential`: values by name, one for each window of records so far.

        Each record was predicted before it was learnt. `job.tested.df()` has a row for each window.
        """
        status = self.status()
        return Tested(status.windows, status.records_untested)

    @property
    def alarms(self) -> list[pb.Alarm]:
        """Each `alarm` of the job: its `bound`, whether it is `on`, and how many `times` it went on.

        `window` and `value` are the number of the window after which it went on or off last, and the metric there.
        """
        return list(self.status().alarms)

    def plot(self, *others: Job | str, metric: str = "loss", log: bool | None = None) -> Figure:
        """Return a picture of the job's curves so far, with what happened; with others, of all of them, to compare.

        `metric` is `loss` or one of the evaluations' or windows'. `log` asks for a logarithmic scale, or for a linear
        one; by default the values decide. Others are jobs or their names, five at most. Raises JobError if a job has no
        such metric, and JobNotFound.
        """
        all_jobs = [self, *(attach(other) if isinstance(other, str) else other for other in others)]
        draw = importlib.import_module(_FIGURES).figure
        drawn: Figure = draw([one.status() for one in all_jobs], metric, log)
        return drawn

    @property
    def output(self) -> str:
        """Where the result goes: the trained model's directory, or the predictions."""
        return self.spec.output

    # ------------------------------------------------------------ results

    @property
    def model(self) -> keras.Model:
        """The trained model of a training job, as `elasticdl_nb.load` returns it; waits for the end of the job.

        Raises JobFailed or JobCancelled if that is how the job ended, and JobError for other jobs.
        """
        from elasticdl_nb.runtime.model.saving.opening import open_model

        return open_model(self.trained_model())

    def trained_model(self) -> str:
        """Return the directory of a training job's model, once the job has ended; raises what `model` raises."""
        self._ended("train", "a model")
        return self.output

    def arrow(self) -> pa.Table:
        """Return the predictions of a prediction job as a table, after the columns of the data that it was given.

        A model with one output gives the column `prediction`. Waits for the end of the job. Raises JobFailed or
        JobCancelled if that is how the job ended, JobError for other jobs and for those without an output, and
        DataError if the data or the output has changed since.
        """
        from elasticdl_nb.job.predictions import read_predictions, with_inputs

        self._ended("predict", "predictions")
        if not self.output:
            raise JobError(f"job {self.name} wrote no predictions: they went to its prediction_outputs_processor")
        return with_inputs(self.spec, read_predictions(self.spec))

    def df(self) -> pd.DataFrame:
        """Return `arrow()` as a pandas frame, with the index of the frame that was given.

        Raises ImportError where pandas is not installed.
        """
        table = self.arrow()
        if importlib.util.find_spec("pandas") is None:
            raise ImportError("df() needs pandas: pip install pandas. arrow() gives the same as an Arrow table")
        from elasticdl_nb.job.predictions import with_index

        frame: pd.DataFrame = with_index(table.to_pandas(), self.folder.path)
        return frame

    def _ended(self, kind: str, what: str) -> None:
        if self.spec.kind != kind:
            raise JobError(f"job {self.name} is a {self.spec.kind} job; only a {kind} job has {what}")
        status = self.status()
        if is_over(status):
            raise_for(self, status)
        else:
            self.wait()

    @property
    def dashboard_url(self) -> str:
        """The address of the job's live page on this machine; empty once the job has ended."""
        master = self.folder.master()
        return str(master.get("dashboard", "")) if master and self.folder.is_alive() else ""

    def dashboard_note(self) -> str:
        """Return a line that says where the dashboard is, newline first; empty once the job has ended."""
        url = self.dashboard_url
        return f"\nDashboard: {url}" if url else ""

    # ------------------------------------------------------------ waiting and ending

    def wait(self, timeout: float | None = None, progress: bool | Callable[[pb.JobStatus], None] | None = None) -> Job:
        """Wait until the job has ended, and return it.

        `progress` shows the job's progress on stderr: by default only on a terminal, with True anywhere. It can also
        be a function that gets each status. Raises JobFailed with the failing process's own message, JobCancelled, or
        TimeoutError if the job has not ended after `timeout` seconds (it keeps running).
        """
        from elasticdl_nb.job.terminal import progress_for

        self._waiting += 1
        try:
            with progress_for(progress) as show:
                status = self._follow(show, timeout)
        finally:
            self._waiting -= 1
        self.settle()
        raise_for(self, status)
        return self

    def _follow(self, show: Progress, timeout: float | None) -> pb.JobStatus:
        status = pb.JobStatus()
        try:
            # With a timeout, the caller may come back later, so the job is not ended.
            for status in watch_job(self.folder, waiting=self._foreground and timeout is None, timeout=timeout):
                show(status)
        except KeyboardInterrupt as interrupt:
            if self._foreground:
                self.request_cancel("interrupted")
                _end_with(interrupt, f"Job {self.name} is being cancelled")
            else:
                self._let_go(interrupt)
            raise
        return status

    def _let_go(self, interrupt: KeyboardInterrupt) -> None:
        """Leave the job running, but cancel it if a second interrupt follows at once."""
        note = f"Job {self.name} keeps running. To end it: elasticdl cancel {self.name}"
        print(f"{note}. Interrupting again now also ends it.", file=sys.stderr, flush=True)  # noqa: T201
        try:
            time.sleep(_SECOND_THOUGHTS_SECONDS)
            _end_with(interrupt, note, said=True)
        except KeyboardInterrupt:
            self.request_cancel("interrupted twice")
            _end_with(interrupt, f"Job {self.name} is being cancelled")

    def cancel(self, reason: str = "cancelled by its user") -> Job:
        """End the job, and return it once its processes are gone. Does nothing to a job that has ended."""
        self.request_cancel(reason)
        self.settle()
        return self

    def request_cancel(self, reason: str) -> None:
        """Ask the job to end, without waiting for that."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self.folder.is_alive():
            if self.folder.cluster() and not self.folder.living_master():
                self._end_on_cluster()
                return
            try:
                client = connect(self.folder)
                if client is not None:
                    with client:
                        client.cancel(reason)
                    return
            except (ConnectionError, TimeoutError):
                pass  # it may have died; then another master is about to start
            if time.monotonic() > deadline:
                if self.folder.cluster():
                    self._end_on_cluster()
                else:
                    launch.terminate(self.folder)
                return
            time.sleep(_POLL_SECONDS)

    def _end_on_cluster(self) -> None:
        from elasticdl_nb.job.clusterjobs import end

        end(self.folder)

    def delete(self) -> None:
        """Remove the job: end it if it is running, delete its objects on the cluster, and its folder on this machine.

        Its output stays, unless it is in the folder. Files on the volume of a cluster also stay.
        """
        self.request_cancel("deleted by its user")
        self.settle()
        self._end_on_cluster()
        self.folder.remove()

    def settle(self) -> None:
        """Return once the processes of a job that has ended are gone; end those that do not exit by themselves."""
        patience = _CLUSTER_PATIENCE_SECONDS if self.folder.cluster() else _PATIENCE_SECONDS
        for end in (launch.terminate, launch.kill):
            deadline = time.monotonic() + patience
            while self.folder.is_alive():
                if time.monotonic() > deadline:
                    end(self.folder)
                    break
                time.sleep(_POLL_SECONDS)
        publish.clean(self.folder.path)  # left by a master that was killed while its worker was writing
        if self.folder.is_over() and not self.folder.is_alive():
            self.folder.remove_journal()  # left by a master that was killed together with its supervisor
        launch.join(self.folder)

    def scale(self, workers: int) -> Job:
        """Change the number of workers while the job runs. Returns the job at once; its status shows the progress.

        Raises OptionError if the job cannot have that many, and JobError if it has ended.
        """
        scale_job(self.folder, workers)
        return self

    def stop(self, *, save: bool = True) -> Job:
        """End a training that follows its data, with a trained model. Returns the job at once; `wait` waits for it.

        No more files are looked for; those that are there by now are trained on first. A later job that follows the
        same data goes on from there, if it gets this one's output as `checkpoint_dir_for_init`. With `save=False`, the
        job is cancelled. Raises JobError if the job does not follow its data, or has ended.
        """
        if not save:
            return self.cancel("stopped by its user")
        stop_job(self.folder, "stopped by its user")
        return self

    # ------------------------------------------------------------ logs and reports

    def logs(self, role: str | None = None, index: int | None = None, tail: int | None = None) -> str:
        """Return the logs of the job's processes, or of one: `logs("master")`, `logs("worker", 0)`.

        Several logs follow one another, each under its name. `tail` gives only the last lines of each.
        Raises JobNotFound if the job has no such process.
        """
        paths = self.log_paths(role, index)
        if len(paths) == 1:
            return launch.tail(paths[0], tail)
        return "\n".join(f"==> {path.name} <==\n{launch.tail(path, tail)}" for path in paths)

    def log_paths(self, role: str | None = None, index: int | None = None) -> list[Path]:
        """Return the log files of the job's processes, the master's first."""
        name = "*" if role is None else role
        patterns = [f"{name}-{index}.log"] if index is not None else [f"{name}.log", f"{name}-*.log"]
        paths = {path for pattern in patterns for path in self.folder.logs.glob(pattern)}
        if not paths and role is not None:
            known = ", ".join(path.stem for path in self.log_paths()) or "none yet"
            wanted = role if index is None else f"{role}-{index}"
            raise JobNotFound(f"job {self.name} has no log of {wanted}; it has: {known}")
        return sorted(paths, key=lambda path: (path.stem != "master", path.stem))

    def report(self) -> Report:
        """Return a summary of the job: plain text, which a notebook shows as the job's picture."""
        from elasticdl_nb.job.report import text_report

        status = self.status()
        return Report(text_report(self.spec, status, self.folder), _picture(status)["text/html"])

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Return the job's picture for a notebook; a page that can makes that of a running job live."""
        status = self.status()
        if is_over(status):
            return _picture(status)
        live = importlib.import_module(_LIVE).live_bundle
        bundle: dict[str, str] = live(status, secrets.token_hex(8), self.folder.identity)
        return bundle

    def __repr__(self) -> str:
        return f"<{describe(self.status())}>"


def _end_with(interrupt: KeyboardInterrupt, note: str, *, said: bool = False) -> None:
    """Let the interrupt end with a note, and IPython show only that: where the wait was interrupted tells nothing.

    A note that is `said` is on the screen already.
    """
    interrupt.add_note(note)
    lines = ["KeyboardInterrupt"] if said else ["KeyboardInterrupt", note]
    interrupt._render_traceback_ = lambda: lines  # type: ignore[attr-defined]


class Report(str):
    """A text that notebooks show as HTML."""

    html: str

    def __new__(cls, text: str, html: str) -> Report:
        """Return the text, together with the HTML that notebooks show."""
        report = super().__new__(cls, text)
        report.html = html
        return report

    def _repr_html_(self) -> str:
        return self.html


def _picture(status: pb.JobStatus) -> dict[str, str]:
    bundle: dict[str, str] = importlib.import_module(_RENDERER).mimebundle(status)
    return bundle


def describe(status: pb.JobStatus) -> str:
    """Return a job in one line: "train job NAME: running 45%, 1.2M of 2.6M records, accuracy 0.91"."""
    parts = [phase_name(status)]
    if not is_over(status):
        parts[0] += f" {status.progress:.0%}"
        if status.records_total:
            parts.append(f"{format_count(status.records_done)} of {format_count(status.records_total)} records")
    if status.evaluations:
        parts.append(format_metrics(latest_metrics(status)))
    if status.phase == pb.FAILED and status.failure.message:
        parts.append(status.failure.message.splitlines()[0])
    return f"{status.kind} job {status.name}: {', '.join(parts)}"


def raise_for(job: Job, status: pb.JobStatus) -> None:
    """Raise JobFailed or JobCancelled if that is how the job ended."""
    if status.phase == pb.CANCELLED:
        raise JobCancelled(f"job {job.name} was cancelled" + (f": {status.detail}" if status.detail else ""))
    if status.phase == pb.FAILED:
        message = status.failure.message or status.detail or "no reason given"
        raise JobFailed(
            f"job {job.name} failed: {message}\nIts logs: {job.folder.logs} (elasticdl logs {job.name})",
            status.failure.traceback,
            folded=in_live_notebook(),
        )


def attach(name: str, *, kube_context: str = "", namespace: str = "") -> Job:
    """Return the job of that name, running or ended, on this machine or a Kubernetes cluster; raise JobNotFound.

    With a namespace or a context of the kube-config, the job is looked up there. Without, it is looked up on this
    machine, and then in the namespace of the current context, if there is one.
    """
    if kube_context or namespace:
        return _attach_on_cluster(name, kube_context, namespace)
    try:
        folder = JobFolder.find(name)
    except JobNotFound as unknown:
        try:
            return _attach_on_cluster(name, "", "")
        except (ClusterError, JobNotFound):
            raise unknown from None
    return Job(_linked(folder))


def _attach_on_cluster(name: str, kube_context: str, namespace: str) -> Job:
    from elasticdl_nb.job.clusterjobs import find

    return Job(_linked(find(name, kube_context, namespace)))


def _linked(folder: JobFolder) -> JobFolder:
    """Make sure that a job on a cluster has its link to this machine."""
    if folder.cluster():
        from elasticdl_nb.job.clusterjobs import link_again

        link_again(folder)
    return folder
