"""Creates, finds and removes jobs on a Kubernetes cluster."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from elasticdl_nb.given.clusterpaths import path_here
from elasticdl_nb.given.paths import is_remote
from elasticdl_nb.runtime.errors import ClusterError, JobError, JobNotFound, OptionError
from elasticdl_nb.runtime.platform import bridge, manifests
from elasticdl_nb.runtime.platform.kubeapi import Cluster, Object
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

_BRIDGE_SECONDS = 30.0
_ROOM_SECONDS = 60.0
_MASTER_SECONDS = 5.0
"""How long a new link may take to find a master that is already running."""

_POLL_SECONDS = 0.05


def start(folder: JobFolder, tell: Callable[[str], object]) -> None:
    """Start the prepared job on its cluster: make its image if needed, then its objects, then the link to it.

    `tell` gets what is being done. Raises OptionError, ImageError and ClusterError, and then leaves nothing in the
    cluster.
    """
    spec = folder.spec()
    cluster = Cluster(spec.kube_context, spec.namespace)
    _refuse_if_in_use(cluster, spec)
    tell("making the image")
    spec = _with_image(folder)
    tell("starting the master")
    _create(cluster, spec, folder)
    try:
        link(folder)
    except BaseException:
        with contextlib.suppress(ClusterError):
            end(folder)
        raise


def write_yaml(folder: JobFolder) -> str:
    """Write what would be submitted to the file that the job names, and return its path. Only the owner can read it.

    It contains the job's secret. `kubectl create -f` would start the job.
    """
    import yaml

    spec = _with_image(folder)
    token, source = folder.token(), _cluster_spec(spec)
    objects = [*manifests.companions(spec, token, source), manifests.master_job(spec, paused=False)]
    with open(os.open(spec.yaml, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        yaml.safe_dump_all(objects, file, sort_keys=False)
    return spec.yaml


def _with_image(folder: JobFolder) -> JobSpec:
    """Return the job with the image that its pods run."""
    from elasticdl_nb.images import image_for

    spec = folder.spec()
    seen = spec.replace(trained_model=path_here(spec, spec.trained_model))
    hidden = not is_remote(seen.trained_model) and not os.path.exists(seen.trained_model)
    if spec.kind != "train" and not spec.image_name and hidden:
        raise OptionError(
            "image_name",
            f"required: the model in {spec.trained_model} was trained in an image, but this machine cannot tell which",
        )
    spec = spec.replace(image_name=image_for(seen, folder.zoo))
    folder.write_spec(spec)
    return spec


def _cluster_spec(spec: JobSpec) -> str:
    if not spec.cluster_spec:
        return ""
    try:
        source = Path(spec.cluster_spec).read_text()
        compile(source, spec.cluster_spec, "exec")
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise OptionError("cluster_spec", f"{spec.cluster_spec} cannot be used: {error}") from None
    return source


# ------------------------------------------------------------------ creating


def _refuse_if_in_use(cluster: Cluster, spec: JobSpec) -> None:
    """Raise OptionError if a job of that name is running on the cluster; one that has ended is replaced."""
    name = manifests.object_name(spec.job_name)
    job = cluster.find("Job", name)
    if job is None:
        return
    if not has_ended(job):
        raise OptionError(
            "job_name",
            f"{spec.job_name!r} is in use by a running job in namespace {cluster.namespace!r}; choose another "
            f"name, wait for it (elasticdl attach {spec.job_name}) or end it (elasticdl cancel {spec.job_name})",
        )
    cluster.delete("Job", name)


def _create(cluster: Cluster, spec: JobSpec, folder: JobFolder) -> None:
    source = _cluster_spec(spec)
    name = manifests.object_name(spec.job_name)
    job = _make(cluster, manifests.master_job(spec, paused=True))
    try:
        for companion in manifests.companions(spec, folder.token(), source):
            _make(cluster, manifests.owned(companion, job))
        place = {
            "context": cluster.context,
            "namespace": cluster.namespace,
            "name": name,
            "uid": job["metadata"]["uid"],
        }
        folder.write_cluster(place)
        cluster.patch("Job", name, {"spec": {"parallelism": 1}})
    except BaseException:
        with contextlib.suppress(ClusterError):
            cluster.delete("Job", name)
        raise


def _make(cluster: Cluster, body: Object) -> Object:
    """Create an object, once an earlier job's object of the same name is gone."""
    deadline = time.monotonic() + _ROOM_SECONDS
    while True:
        try:
            return cluster.create(body)
        except ClusterError as error:
            if error.status != 409 or time.monotonic() > deadline:
                raise
        time.sleep(_POLL_SECONDS * 10)


# ------------------------------------------------------------------ the link


def link(folder: JobFolder) -> None:
    """Make sure that this machine has a link to the job, unless it has ended; return once its ports are known."""
    place = folder.cluster()
    if place is None or folder.is_over() or folder.has_supervisor():
        return
    (folder.path / "master.json").unlink(missing_ok=True)
    with open(folder.path / "bridge.log", "ab") as log:
        process = subprocess.Popen(
            bridge.command(folder.path), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    _wait_for_ports(folder, process)


def _wait_for_ports(folder: JobFolder, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _BRIDGE_SECONDS
    while folder.master() is None and not folder.is_over():
        if process.poll() is not None and not folder.has_supervisor():
            text = (folder.path / "bridge.log").read_text(errors="replace").strip()
            raise JobError(f"the link to the job's cluster ended at once: {text.splitlines()[-1] if text else '?'}")
        if time.monotonic() > deadline:
            raise JobError(f"the link to the job's cluster does not work; see {folder.path / 'bridge.log'}")
        time.sleep(_POLL_SECONDS)


def link_again(folder: JobFolder) -> None:
    """Make sure that this machine has a link to a job started earlier, so that a running master can be reached."""
    if folder.cluster() is None or folder.has_supervisor():
        return
    link(folder)
    deadline = time.monotonic() + _MASTER_SECONDS
    while not (folder.is_over() or folder.living_master()) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


# ------------------------------------------------------------------ finding


def has_ended(job: Object) -> bool:
    """Whether the batch Job has ended."""
    conditions = (job.get("status") or {}).get("conditions") or []
    return any(one["type"] in ("Complete", "Failed") and one["status"] == "True" for one in conditions)


def known_jobs(context: str = "", namespace: str = "") -> Iterator[JobFolder]:
    """Yield a folder on this machine for every job in a namespace, and create those that are missing."""
    cluster = Cluster(context, namespace)
    for job in cluster.list("Job", "app=elasticdl"):
        with contextlib.suppress(JobNotFound):
            yield _folder_of(cluster, job)


def find(name: str, context: str = "", namespace: str = "") -> JobFolder:
    """Return a folder on this machine for a job on the cluster; raise JobNotFound or ClusterError."""
    cluster = Cluster(context, namespace)
    job = cluster.find("Job", manifests.object_name(name))
    if job is None:
        raise JobNotFound(f"no job named {name!r} in namespace {cluster.namespace!r} of {cluster.host}")
    return _folder_of(cluster, job)


def _folder_of(cluster: Cluster, job: Object) -> JobFolder:
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    job_name = job["metadata"]["labels"][manifests.JOB_LABEL]
    with contextlib.suppress(JobNotFound):
        folder = JobFolder.find(job_name)
        if (folder.cluster() or {}).get("uid") == uid:
            return folder
    handed = cluster.find("ConfigMap", name)
    if handed is None:
        raise JobNotFound(f"the ConfigMap of job {job_name!r} is missing")
    secret = cluster.find("Secret", name)  # gone once the job is over
    token = base64.b64decode(secret["data"][manifests.TOKEN]).decode() if secret else "none"
    spec = JobSpec.from_json(handed["data"][manifests.SPEC])
    with JobFolder.prepare(spec, token) as folder:
        folder.write_cluster({"context": cluster.context, "namespace": cluster.namespace, "name": name, "uid": uid})
    return folder


# ------------------------------------------------------------------ removing


def end(folder: JobFolder) -> None:
    """Delete the job from its cluster, whatever its state; do nothing if it is already gone."""
    place = folder.cluster()
    if place is None:
        return
    cluster = Cluster(place["context"], place["namespace"])
    job = cluster.find("Job", place["name"])
    if job is not None and job["metadata"]["uid"] == place["uid"]:
        cluster.delete("Job", place["name"])
