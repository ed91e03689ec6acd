"""The link between this machine and a job on a cluster: `python -m …bridge JOB_FOLDER`.

A small process that lives as long as the job, whether or not anyone watches. It forwards ports of this machine to
whichever pod is the master, and writes to the job's folder what a local job's processes would: where the master
listens, logs, and the last status. So nothing else needs to know that the job runs elsewhere.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import sys
import threading
import time
from pathlib import Path

from elasticdl_nb.runtime.control.status import conclude, is_over
from elasticdl_nb.runtime.errors import ClusterError
from elasticdl_nb.runtime.platform import manifests
from elasticdl_nb.runtime.platform.forward import Forward
from elasticdl_nb.runtime.platform.kubeapi import Change, Cluster, Listing, Object
from elasticdl_nb.runtime.platform.podstate import PodState, state_of
from elasticdl_nb.runtime.platform.podtracker import INDEX, ROLE, TROUBLE_SECONDS
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.auth import url_secret
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.storage.locks import hold_lock

POLL_SECONDS = 1.0
JOB_POLL_SECONDS = 10.0
"""Seconds between checks that the job still exists, while nothing happens to its pods."""

MOST_LOGS = 64
logger = logging.getLogger(__name__)


class Bridge:
    """One job's link; `run` returns when the job is over."""

    def __init__(self, folder: JobFolder, cluster: Cluster) -> None:
        self._folder, self._cluster = folder, cluster
        self._spec = folder.spec()
        self._name = manifests.object_name(self._spec.job_name)
        self._master = Forward(cluster, manifests.MASTER_PORT)
        self._dashboard = Forward(cluster, manifests.DASHBOARD_PORT)
        self._logs: dict[str, threading.Thread] = {}
        self._pods: dict[str, Object] = {}
        self._changed = threading.Condition()
        self._reachable = contextlib.ExitStack()
        self._trouble_since = 0.0
        self._is_over = False

    def run(self) -> None:
        """Keep the link until the job is over."""
        url = f"http://127.0.0.1:{self._dashboard.port}/{url_secret(self._folder.token())}/"
        self._folder.write_master(f"tls://127.0.0.1:{self._master.port}", url)
        threading.Thread(target=self._follow, name="pods", daemon=True).start()
        looked_at = 0.0
        while True:
            with self._changed:
                self._changed.wait(POLL_SECONDS)
                masters = [pod for pod in self._pods.values() if pod["metadata"]["labels"][ROLE] == "master"]
            # The youngest, as one that is being replaced may take a while to disappear.
            master = max(masters, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), default=None)
            state = state_of(master) if master else PodState("waits")
            self._reach(master, state)
            if state.stage == "ended" or not master or time.monotonic() > looked_at + JOB_POLL_SECONDS:
                looked_at = time.monotonic()
                if self._look_for_end(state):
                    return
            if state.stage == "waits" and self._is_given_up(state):
                return

    # ------------------------------------------------------------ pods

    def _follow(self) -> None:
        first = True
        for news in self._cluster.watch("Pod", manifests.selector(self._spec.job_name), threading.Event()):
            if isinstance(news, ClusterError):
                logger.warning("%s", news)
                continue
            with self._changed:
                if isinstance(news, Listing):
                    self._pods = {pod["metadata"]["name"]: pod for pod in news.items}
                elif news.gone:
                    self._pods.pop(news.item["metadata"]["name"], None)
                else:
                    self._pods[news.item["metadata"]["name"]] = news.item
                self._changed.notify()
            for pod in news.items if isinstance(news, Listing) else [news.item]:
                if not (isinstance(news, Change) and news.gone):
                    self._read_log(pod, again=first)
            first = False

    def _reach(self, master: Object | None, state: PodState) -> None:
        """Record whether the master can be reached, and which pod it is."""
        pod = master["metadata"]["name"] if master and state.stage == "runs" else ""
        if pod == self._master.pod:
            return
        self._master.pod = self._dashboard.pod = pod
        self._reachable.close()
        if pod:
            self._reachable.enter_context(self._folder.hold_master_lock())
            self._folder.show_life()

    def _is_given_up(self, state: PodState) -> bool:
        """Report what the master's pod waits for; if it waits in vain, end the job."""
        detail = f"the master {state.text}" if state.text else "starting the master"
        status = self._status()
        if status.phase == pb.STARTING and status.detail != detail:
            status.detail = detail
            self._folder.write_status(status)
        self._trouble_since = (self._trouble_since or time.monotonic()) if state.trouble else 0.0
        lasting = self._trouble_since and time.monotonic() - self._trouble_since > TROUBLE_SECONDS
        if not state.hopeless and not lasting:
            return False
        self._conclude(pb.FAILED, f"the master's pod: {state.text}")
        with contextlib.suppress(ClusterError):
            self._cluster.delete("Job", self._name)
        return True

    # ------------------------------------------------------------ the end

    def _look_for_end(self, master: PodState) -> bool:
        try:
            job = self._cluster.find("Job", self._name)
            if job is None or job["metadata"]["uid"] != (self._folder.cluster() or {})["uid"]:
                self._conclude(pb.CANCELLED, "it was deleted from the cluster")
                return True
            conditions = {one["type"]: one for one in (job.get("status") or {}).get("conditions") or []}
            if not {"Complete", "Failed"} & conditions.keys():
                return False
            self._conclude_as_told(conditions, master)
            return True
        except ClusterError as error:
            logger.warning("%s", error)
            return False

    def _conclude_as_told(self, conditions: dict[str, Object], master: PodState) -> None:
        told = self._cluster.find("ConfigMap", self._name) or {}
        if packed := (told.get("binaryData") or {}).get(manifests.STATUS):
            status = pb.JobStatus.FromString(base64.b64decode(packed))
        else:
            status = self._status()
            how = master.text or f"ended with exit code {master.code}"
            ended = conditions.get("Failed") or {}
            status.failure.message = f"the job's master {how}; {ended.get('message', 'the cluster gave up on it')}"
            status.failure.traceback = master.log_tail
            conclude(status, pb.FAILED, status.failure.message, time.time())
        self._finish(status)
        if status.phase == pb.CANCELLED:
            self._cluster.delete("Job", self._name)

    def _conclude(self, phase: pb.JobPhase, why: str) -> None:
        status = self._status()
        if phase == pb.FAILED:
            status.failure.message = why
        conclude(status, phase, why, time.time())
        self._finish(status)

    def _finish(self, status: pb.JobStatus) -> None:
        for thread in self._logs.values():
            thread.join(POLL_SECONDS)
        status.dashboard_url = ""
        self._folder.write_status(status)
        self._reachable.close()
        self._folder.mark_over()

    def _status(self) -> pb.JobStatus:
        spec = self._spec
        return self._folder.status() or pb.JobStatus(
            name=self._folder.name, kind=spec.kind, num_epochs=spec.num_epochs, remaining_seconds=-1,
            started_at=time.time(), updated_at=time.time(),
        )  # fmt: skip

    # ------------------------------------------------------------ logs

    def _read_log(self, pod: Object, again: bool) -> None:
        """Follow a pod's output, once it runs; with `again`, an earlier link may already have copied some of it."""
        name = pod["metadata"]["name"]
        started = state_of(pod).stage != "waits"
        reading = sum(thread.is_alive() for thread in self._logs.values())
        if not started or name in self._logs or reading >= MOST_LOGS:
            return
        labels = pod["metadata"]["labels"]
        index = labels.get(INDEX)
        path = self._folder.log_path(labels[ROLE], None if index is None else int(index))
        self._logs[name] = threading.Thread(target=self._copy_log, args=(name, path, again), daemon=True)
        self._logs[name].start()

    def _copy_log(self, pod: str, path: Path, again: bool) -> None:
        before = path.stat().st_mtime if again and path.exists() else None
        since = {} if before is None else {"since_seconds": max(1, int(time.time() - before))}
        try:
            with path.open("ab") as file:
                for part in self._cluster.log(pod, follow=True, **since):
                    file.write(part)
                    file.flush()
        except ClusterError as error:
            logger.warning("%s", error)


def command(folder: Path) -> list[str]:
    """The command of a job's link."""
    return [sys.executable, "-m", "elasticdl_nb.runtime.platform.bridge", os.fspath(folder)]


def main(path: str) -> None:
    """Keep the link to the job in this folder, unless another process does."""
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    folder = JobFolder(path)
    place = folder.cluster()
    status = folder.status()
    if place is None or folder.is_over() or (status is not None and is_over(status)):
        return
    with contextlib.suppress(BlockingIOError), hold_lock(folder.path / "supervisor.lock"):
        Bridge(folder, Cluster(place["context"], place["namespace"])).run()
    # Threads that wait for the cluster need no cleaning up.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
