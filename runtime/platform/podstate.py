"""What a pod's state means for its job. Plain functions of the API's objects; no I/O, no clock.

The fields are those of core/v1: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Stage = Literal["waits", "runs", "ended"]

_IMAGE_TROUBLE = {
    "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
    "RegistryUnavailable", "ErrImageVerify", "SignatureValidationFailed",
}  # fmt: skip
_HOPELESS_IMAGE = {"InvalidImageName", "ErrImageNeverPull"}
# What registries and engines say about images that do not exist or that we may not pull: waiting does not help.
_NO_SUCH_IMAGE = re.compile(
    r"not found|manifest unknown|does not exist|unauthorized|authentication required|access denied|denied:|"
    r"invalid reference|no match for platform|no basic auth",
    re.IGNORECASE,
)
_CONTAINER_TROUBLE = {
    "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PostStartHookError",
    "CrashLoopBackOff", "PreCreateHookError", "PreStartHookError",
}  # fmt: skip
# Reasons for a pod's end that mean that its node or the cluster ended it.
_CLUSTERS_REASONS = {
    "NodeLost": "its node was lost",
    "NodeShutdown": "its node was shut down",
    "Shutdown": "its node was shut down",
    "Terminated": "its node was shut down",
    "NodeAffinity": "it may no longer run on its node",
    "UnexpectedAdmissionError": "its node did not admit it",
    "Preempting": "it had to make room for a pod that its node needs",
}
_OUT_OF = re.compile(r"OutOf(\w+)", re.IGNORECASE)
_OWN_EVICTIONS = re.compile(
    r"exceeds? (the total|its|the) .*limit|usage of EmptyDir|ephemeral.* exceeds", re.IGNORECASE
)
_DISRUPTIONS = {
    "PreemptionByScheduler": "it was preempted by a pod with higher priority",
    "DeletionByTaintManager": "it was removed from its node, which is now tainted",
    "EvictionByEvictionAPI": "it was evicted",
    "DeletionByPodGC": "its node is gone",
    "TerminationByKubelet": "its node evicted it",
}


@dataclass(frozen=True)
class PodState:
    """A pod's state as the job sees it; `text` is shown to users and completes "worker-0: …".

    A pod that `waits` may be in `trouble` that will hardly pass, or be `hopeless`. One that has `ended` has a `code`,
    negative for a signal, and `counts` as caused by the process itself unless the cluster ended it. `named` means that
    `text` says more than the code.
    """

    stage: Stage
    text: str = ""
    trouble: bool = False
    hopeless: bool = False
    code: int = 0
    counts: bool = True
    named: bool = False
    log_tail: str = ""


def state_of(pod: Mapping[str, Any], *, gone: bool = False, events: Iterable[Mapping[str, Any]] = ()) -> PodState:
    """Return what a pod's state means; `gone` if it no longer exists, `events` are what the cluster said about it."""
    status = pod.get("status") or {}
    container: Mapping[str, Any] = next(iter(status.get("containerStatuses") or []), {})
    terminated = (container.get("state") or {}).get("terminated")
    leaves = bool(pod["metadata"].get("deletionTimestamp")) or gone
    # A pod that is being deleted before it has run never will; nodes may take a minute to report it gone.
    gone = gone or (leaves and "running" not in (container.get("state") or {}))
    if terminated and terminated.get("reason") == "OOMKilled":
        return _out_of_memory(pod, terminated)
    if terminated or gone or status.get("phase") in ("Failed", "Succeeded"):
        taken = _taken(status, events, leaves)
        tail = str((terminated or {}).get("message") or "")
        if taken:
            return PodState("ended", taken, code=-9, counts=False, named=True, log_tail=tail)
        return _exited(status, terminated, tail)
    waiting = (container.get("state") or {}).get("waiting")
    if waiting and waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
        return _troubled(waiting, container)
    if (container.get("state") or {}).get("running"):
        return PodState("runs")
    return _unscheduled(status)


def _out_of_memory(pod: Mapping[str, Any], terminated: Mapping[str, Any]) -> PodState:
    limits = (pod["spec"]["containers"][0].get("resources") or {}).get("limits") or {}
    limit = f"its limit of {limits['memory']}" if "memory" in limits else "was available on its node"
    role = pod["metadata"].get("labels", {}).get("elasticdl-replica-type", "worker")
    text = f"was killed for using more memory than {limit} (see {role}_resource_limit)"
    return PodState("ended", text, code=-9, named=True, log_tail=str(terminated.get("message") or ""))


def _taken(status: Mapping[str, Any], events: Iterable[Mapping[str, Any]], leaves: bool) -> str:
    """Return how the cluster ended the pod; empty if it did not."""
    reason, message = str(status.get("reason") or ""), str(status.get("message") or "")
    if reason == "Evicted":
        return "" if _OWN_EVICTIONS.search(message) else f"was evicted: {message or 'its node ran out of resources'}"
    for condition in status.get("conditions") or []:
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            why = _DISRUPTIONS.get(
                str(condition.get("reason")), str(condition.get("message") or "the cluster ended it")
            )
            return f"was ended by the cluster: {why}"
    if reason in _CLUSTERS_REASONS or _OUT_OF.fullmatch(reason):
        return f"was ended by the cluster: {_CLUSTERS_REASONS.get(reason) or message or reason}"
    if not leaves:
        return ""
    for event in events:
        if event.get("reason") == "Preempted":
            return "was preempted by a pod with higher priority"
        if event.get("reason") == "TaintManagerEviction":
            return "was removed from its node, which is now tainted"
    return "was deleted from the cluster"


def _exited(status: Mapping[str, Any], terminated: Mapping[str, Any] | None, tail: str) -> PodState:
    if terminated is None:
        text = ": ".join(part for part in (str(status.get("reason") or ""), str(status.get("message") or "")) if part)
        if status.get("phase") == "Succeeded":
            return PodState("ended")
        return PodState("ended", f"was ended by its node: {text}" if text else "ended", code=1, named=bool(text))
    code = int(terminated.get("exitCode") or 0)
    reason = terminated.get("reason")
    if reason in ("ContainerCannotRun", "StartError"):
        return PodState("ended", f"cannot run: {tail}", hopeless=True, code=code, named=True)
    return PodState("ended", code=128 - code if code > 128 else code, log_tail=tail)


def _troubled(waiting: Mapping[str, Any], container: Mapping[str, Any]) -> PodState:
    reason, message = str(waiting.get("reason")), str(waiting.get("message") or "")
    if reason in _IMAGE_TROUBLE:
        hopeless = reason in _HOPELESS_IMAGE or bool(_NO_SUCH_IMAGE.search(message))
        said = message or reason
        return PodState(
            "waits",
            f"its image {container.get('image', '')} cannot be pulled: {said}",
            trouble=True,
            hopeless=hopeless,
        )
    text = f"its container cannot be started: {message or reason}"
    return PodState("waits", text, trouble=reason in _CONTAINER_TROUBLE)


def _unscheduled(status: Mapping[str, Any]) -> PodState:
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            message = condition.get("message") or condition.get("reason") or "no node has room"
            return PodState("waits", f"is waiting for room in the cluster: {message}")
    return PodState("waits")
