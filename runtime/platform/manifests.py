"""The Kubernetes objects that make up a job, derived from its declaration. Plain dictionaries; no I/O.

The master is a batch Job with one pod, so that the cluster itself starts another one when it dies. All other objects
belong to that Job, so deleting it deletes them. Labels are those that ElasticDL uses.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from elasticdl_nb.runtime.platform.base import InstanceId
from elasticdl_nb.runtime.platform.podtracker import INCARNATION, INDEX, ROLE
from elasticdl_nb.runtime.spec import JobSpec

Object = dict[str, Any]

MASTER_PORT = 50001
DASHBOARD_PORT = 50002
"""A port on the loopback address of the master's pod."""

JOB_LABEL = "elasticdl-job-name"
KIND_LABEL = "elasticdl-job-kind"
SECRETS = "/var/run/elasticdl/job"
"""Where the master's pod finds what the client passes to it: the job's declaration and its token."""

MODEL_ZOO = "/model_zoo"
SPEC, CLUSTER_SPEC, STATUS, TOKEN = "spec.json", "cluster_spec.py", "status", "token"
PRIORITY_CLASSES = {"high": "elasticdl-high", "low": "elasticdl-low"}
MASTER_RESTARTS = 20
SECONDS_KEPT = 86_400
"""Seconds for which the Job object is kept after the job has ended, so that its logs and outcome can be inspected."""

GRACE_SECONDS = 5
GROUP = 10001
"""The group of the user in images that elasticdl_nb builds, which must be able to write to the claims' volumes."""

_LONGEST_NAME = 45
"""Leaves room for the suffixes of pods: the cluster's limit is 63 characters."""


def object_name(job_name: str) -> str:
    """Return the name of a job's objects: the job's name in lower case, with '-' for characters not allowed there.

    If that changes more than the case of letters, or shortens the name, part of the name's digest keeps it unique.
    """
    plain = re.sub(r"[^a-z0-9-]+", "-", job_name.lower()).strip("-")
    name = f"elasticdl-{plain}"
    if plain == job_name and len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(job_name.encode()).hexdigest()[:6]
    return f"{name[: _LONGEST_NAME - 7].rstrip('-')}-{digest}"


def pod_name(job_name: str, instance: InstanceId) -> str:
    """Return the name of an instance's pod."""
    return f"{object_name(job_name)}-{instance.role}-{instance.index}-{instance.incarnation}"


def selector(job_name: str) -> str:
    """Return the label selector of a job's objects."""
    return f"app=elasticdl,{JOB_LABEL}={job_name}"


def job_directory(spec: JobSpec) -> str:
    """Return the folder, in pods, for what the pods of jobs share; empty if no volume is writable."""
    if spec.job_directory:
        return spec.job_directory
    for volume in spec.volume:
        if volume.get("read_only") != "true":
            return f"{volume['mount_path'].rstrip('/')}/.elasticdl"
    return ""


def job_folder(spec: JobSpec) -> str:
    """Return the folder, in pods, that the job's pods share."""
    return f"{job_directory(spec)}/jobs/{spec.job_name}"


def labels(spec: JobSpec) -> dict[str, str]:
    """Return the labels of all the job's objects."""
    return {"app": "elasticdl", JOB_LABEL: spec.job_name, KIND_LABEL: spec.kind}


# ------------------------------------------------------------------ what the client creates


def master_job(spec: JobSpec, *, paused: bool) -> Object:
    """Return the batch Job that is the job's master and owns everything; if `paused`, it does not start a pod yet."""
    pod = _pod(
        spec, "master", spec.master_resource_request, spec.master_resource_limit, _priority(spec.master_pod_priority),
        ["python3", "-m", "elasticdl_nb.job.inpod"],
        {"PYTHONUNBUFFERED": "1", "ELASTICDL_HOME": job_directory(spec)},
    )  # fmt: skip
    name = object_name(spec.job_name)
    pod["serviceAccountName"] = spec.service_account or name
    container = pod["containers"][0]
    container["ports"] = [{"name": "master", "containerPort": MASTER_PORT}]
    container["env"] += [
        {"name": "ELASTICDL_PORT", "value": str(MASTER_PORT)},
        {"name": "ELASTICDL_DASHBOARD_PORT", "value": str(DASHBOARD_PORT)},
        {"name": "ELASTICDL_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
    ]
    container["volumeMounts"].append({"name": "elasticdl-job", "mountPath": SECRETS, "readOnly": True})
    # Both are optional, so that a master that is restarted after the job's end finds that out by itself.
    sources = [{"configMap": {"name": name, "optional": True}}, {"secret": {"name": name, "optional": True}}]
    pod["volumes"].append({"name": "elasticdl-job", "projected": {"sources": sources}})
    master = {**labels(spec), ROLE: "master"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels(spec)},
        "spec": {
            "parallelism": 0 if paused else 1,
            "completions": 1,
            "backoffLimit": MASTER_RESTARTS if spec.restart_policy == "OnFailure" else 0,
            "ttlSecondsAfterFinished": SECONDS_KEPT,
            "template": {"metadata": {"labels": master}, "spec": pod},
        },
    }


def companions(spec: JobSpec, token: str, cluster_spec: str = "") -> list[Object]:
    """Return the objects that the master needs besides its Job, in the order in which to create them."""
    name = object_name(spec.job_name)
    metadata = {"name": name, "labels": labels(spec)}
    files = {SPEC: spec.to_json(), **({CLUSTER_SPEC: cluster_spec} if cluster_spec else {})}
    objects: list[Object] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "data": files},
        {"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
         "data": {TOKEN: base64.b64encode(token.encode()).decode()}},
        {"apiVersion": "v1", "kind": "Service", "spec": {
            "selector": {JOB_LABEL: spec.job_name, ROLE: "master"},
            "ports": [{"name": "master", "port": MASTER_PORT, "targetPort": MASTER_PORT}],
        }},
    ]  # fmt: skip
    if not spec.service_account:
        objects += _account(name)
    return [{**one, "metadata": metadata} for one in objects]


def _account(name: str) -> list[Object]:
    group = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount"},
        {"apiVersion": f"{group}/v1", "kind": "Role", "rules": master_rules(name)},
        {"apiVersion": f"{group}/v1", "kind": "RoleBinding",
         "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
         "subjects": [{"kind": "ServiceAccount", "name": name}]},
    ]  # fmt: skip


def master_rules(name: str = "") -> list[Object]:
    """Return what a master may do: anything with pods, and with other objects only what it needs of its own."""
    own = {"resourceNames": [name]} if name else {}
    return [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "delete", "get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "patch"], **own},
        {"apiGroups": [""], "resources": ["secrets", "services"], "verbs": ["delete"], **own},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "patch"], **own},
    ]


def owned(thing: Object, job: Mapping[str, Any]) -> Object:
    """Return the object with the batch Job as its owner, so that the cluster deletes it with the Job."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
    return {**thing, "metadata": {**thing["metadata"], "ownerReferences": [owner]}}


# ------------------------------------------------------------------ what the master creates


def instance_pod(spec: JobSpec, instance: InstanceId, command: Sequence[str], envs: Mapping[str, str]) -> Object:
    """Return the pod of a worker or parameter server."""
    if instance.role == "worker":
        request, limit = spec.worker_resource_request, spec.worker_resource_limit
        priority = _worker_priority(spec, instance.index)
    else:
        request, limit = spec.ps_resource_request, spec.ps_resource_limit
        priority = _priority(spec.ps_pod_priority)
    pod = _pod(spec, instance.role, request, limit, priority, ["python3", *command[1:]], envs)
    pod |= {"automountServiceAccountToken": False, "enableServiceLinks": False}
    marks = {ROLE: instance.role, INDEX: str(instance.index), INCARNATION: instance.incarnation}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": pod_name(spec.job_name, instance), "labels": {**labels(spec), **marks}},
        "spec": pod,
    }


def _worker_priority(spec: JobSpec, index: int) -> str:
    priority = spec.worker_pod_priority
    try:
        share = float(priority)
    except ValueError:
        return _priority(priority)
    return _priority("high" if index < share * spec.num_workers else "low")


def _priority(name: str) -> str:
    return PRIORITY_CLASSES.get(name, name)


def _pod(
    spec: JobSpec, role: str, request: Mapping[str, str], limit: Mapping[str, str], priority: str,
    command: Sequence[str], envs: Mapping[str, str],
) -> Object:  # fmt: skip
    resources: Object = {"requests": {**request, **{name: limit[name] for name in limit if "/" in name}}}
    # Devices cannot be requested without an equal limit.
    if limits := {**{name: request[name] for name in request if "/" in name}, **limit}:
        resources["limits"] = limits
    own = [{"name": name, "value": value} for name, value in envs.items()]
    address = [{"name": "ELASTICDL_BIND", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    container = {
        "name": role,
        "image": spec.image_name,
        "imagePullPolicy": spec.image_pull_policy,
        "command": list(command),
        "env": own + address,
        "resources": resources,
        "volumeMounts": [_mount(number, volume) for number, volume in enumerate(spec.volume)],
        "securityContext": {"allowPrivilegeEscalation": False},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    pod: Object = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "containers": [container],
        "volumes": [_volume(number, volume) for number, volume in enumerate(spec.volume)],
    }
    if any("claim_name" in volume for volume in spec.volume):
        pod["securityContext"] = {"fsGroup": GROUP, "fsGroupChangePolicy": "OnRootMismatch"}
    optional = {
        "priorityClassName": priority,
        "nodeSelector": spec.node_selector,
        "tolerations": list(spec.tolerations),
        "imagePullSecrets": [{"name": name} for name in spec.image_pull_secrets],
    }
    return pod | {name: value for name, value in optional.items() if value}


def _mount(number: int, volume: Mapping[str, str]) -> Object:
    mount: Object = {"name": f"volume-{number}", "mountPath": volume["mount_path"]}
    if "sub_path" in volume:
        mount["subPath"] = volume["sub_path"].lstrip("/")
    if volume.get("read_only") == "true":
        mount["readOnly"] = True
    return mount


def _volume(number: int, volume: Mapping[str, str]) -> Object:
    if "claim_name" in volume:
        source: Object = {"persistentVolumeClaim": {"claimName": volume["claim_name"]}}
    else:
        source = {"hostPath": {"path": volume["host_path"]}}
    return {"name": f"volume-{number}", **source}
