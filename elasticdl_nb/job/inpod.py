"""The master's pod: `python -m elasticdl_nb.job.inpod`.

Sets up the job's folder on the volume that the pods share, checks what could not be checked on the client's machine,
runs the master, and leaves the job's last status where clients find it. A pod that replaces another one finds the
folder as that pod left it, and continues.
"""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from elasticdl_nb.given.checks import check_code, check_inputs_and_output
from elasticdl_nb.job.launch import DASHBOARD
from elasticdl_nb.runtime.errors import ClusterError, ElasticDLError
from elasticdl_nb.runtime.platform import manifests
from elasticdl_nb.runtime.platform.kubeapi import Cluster, Object
from elasticdl_nb.runtime.platform.kubernetes import KubernetesPlatform
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage.jobfolder import JobFolder, jobs_root

LOCK_SECONDS = 60.0
"""How long a master waits for an earlier one to be gone."""

RETRY_SECONDS = 1.0
_TERMINATED = 128 + signal.SIGTERM
_HANDED = Path(manifests.SECRETS)
logger = logging.getLogger(__name__)


class HandedOver:
    """What the client has put on the cluster for the master."""

    def __init__(self, folder: Path = _HANDED) -> None:
        self.spec = JobSpec.from_json((folder / manifests.SPEC).read_text())
        self.token = (folder / manifests.TOKEN).read_text()
        source = folder / manifests.CLUSTER_SPEC
        self.cluster_spec = source if source.exists() else None


def settle(handed: HandedOver) -> JobFolder:
    """Return the job's folder, made and checked by this pod or an earlier one; raise ElasticDLError or OSError."""
    spec = handed.spec
    folder = JobFolder(jobs_root() / spec.job_name)
    with contextlib.suppress(FileNotFoundError):
        if folder.token() == handed.token:
            if folder.is_shared:
                return folder
            folder.remove()  # an earlier pod died while it made it
    with JobFolder.prepare(spec, handed.token) as folder:
        if spec.kind == "train":
            zoo = spec.model_zoo if spec.image_name and os.path.isdir(spec.model_zoo) else manifests.MODEL_ZOO
            shutil.copytree(zoo, folder.zoo, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        if reader := check_code(spec, folder.zoo):
            spec = spec.replace(custom_data_reader=reader)
        folder.write_spec(check_inputs_and_output(spec, reads_files=not reader))
        folder.write_dashboard(DASHBOARD)
        folder.mark_shared()
    return folder


def changer(source: Path | None) -> Callable[[Object], Object]:
    """Return the function that changes pods before they are created: `cluster.with_pod` of the user's file."""
    if source is None:
        return lambda pod: pod
    import kubernetes.client

    specification = importlib.util.spec_from_file_location("elasticdl_cluster_spec", source)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    client = kubernetes.client.ApiClient()

    def change(pod: Object) -> Object:
        changed = module.cluster.with_pod(pod)
        return dict(client.sanitize_for_serialization(changed if changed is not None else pod))

    return change


class Pod:
    """This pod's view of the cluster: its job's objects, and what it leaves there."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster, self._name = cluster, name

    def job(self) -> Object:
        """Return the batch Job that this pod belongs to."""
        job: Object = _patiently(lambda: self._cluster.get("Job", self._name))
        return job

    def conclude(self, status: pb.JobStatus) -> None:
        """Leave the job's last status where clients find it, and remove what the job no longer needs."""
        packed = base64.b64encode(status.SerializeToString()).decode()
        _patiently(lambda: self._cluster.patch("ConfigMap", self._name, {"binaryData": {manifests.STATUS: packed}}))
        if status.phase == pb.FAILED:  # so that the cluster also considers it failed, and does not try again
            _patiently(lambda: self._cluster.patch("Job", self._name, {"spec": {"backoffLimit": 0}}))
        for kind in ("Service", "Secret"):
            with contextlib.suppress(ClusterError):
                self._cluster.delete(kind, self._name)


def _patiently(call: Callable[[], Any]) -> Any:
    while True:
        try:
            return call()
        except ClusterError as error:
            if not error.may_pass:
                raise
            logger.warning("%s", error)
            time.sleep(RETRY_SECONDS)


def _failed(spec: JobSpec, error: Exception) -> pb.JobStatus:
    now = time.time()
    message = str(error) if isinstance(error, ElasticDLError) else f"the master's pod has failed: {error}"
    status = pb.JobStatus(
        name=spec.job_name, kind=spec.kind, phase=pb.FAILED, detail=message, num_epochs=spec.num_epochs,
        started_at=now, updated_at=now, finished_at=now,
    )  # fmt: skip
    status.failure.message = message
    return status


def _listen_to_others() -> None:
    """Set where this pod listens: at its Service's address for the other pods, and on loopback for forwarded ports."""
    service = f"{manifests.object_name(HandedOver().spec.job_name)}_SERVICE_HOST".upper().replace("-", "_")
    host = os.environ.get(service) or os.environ["ELASTICDL_BIND"]
    os.environ |= {"ELASTICDL_BIND": "::" if ":" in host else "0.0.0.0", "ELASTICDL_ADVERTISE": host}  # noqa: S104  encrypted


def _run_master(folder: JobFolder, platform: KubernetesPlatform) -> None:
    import uvloop

    from elasticdl_nb.runtime.master.process import serve

    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            with folder.hold_master_lock():
                uvloop.run(serve(folder, platform, supervised=False))
                return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY_SECONDS)


def main() -> int:
    """Run the job's master; return the exit code of the pod."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(_TERMINATED))
    if not (_HANDED / manifests.TOKEN).exists():  # only the last pod of a job removes it
        return 0
    handed = HandedOver()
    logging.basicConfig(level=handed.spec.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    cluster = Cluster(namespace=os.environ["ELASTICDL_NAMESPACE"])
    pod = Pod(cluster, manifests.object_name(handed.spec.job_name))
    try:
        folder = settle(handed)
        change = changer(handed.cluster_spec)
    except (ElasticDLError, OSError) as error:
        logger.error("%s", error)
        pod.conclude(_failed(handed.spec, error))
        return 1
    if not folder.is_over():
        _listen_to_others()
        platform = KubernetesPlatform(cluster, folder.spec(), pod.job(), change)
        _run_master(folder, platform)
    status = folder.status() or pb.JobStatus()
    pod.conclude(status)
    return 1 if status.phase == pb.FAILED else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Threads that wait for the cluster need not be stopped in order.
    os._exit(code)
