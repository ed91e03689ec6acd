"""Blows to a job on a cluster: its pods are deleted, without time to end by themselves."""

from __future__ import annotations

import signal

from elasticdl_nb.runtime.chaos import Cut, Delay, Signal, choose
from elasticdl_nb.runtime.errors import JobError
from elasticdl_nb.runtime.platform.kubeapi import Cluster, Object
from elasticdl_nb.runtime.platform.manifests import selector
from elasticdl_nb.runtime.platform.podtracker import INDEX, ROLE
from elasticdl_nb.runtime.storage.jobfolder import JobFolder


class PodHand:
    """Reaches the pods of one job; see `runtime.chaos.Hand`."""

    def __init__(self, folder: JobFolder) -> None:
        place = folder.cluster() or {}
        self._cluster = Cluster(place.get("context", ""), place.get("namespace", ""))
        self._selector, self._name = selector(folder.spec().job_name), folder.name

    def strike(self, event: Signal | Cut | Delay) -> str:
        """Delete a pod; raise JobError for what only a process on this machine can suffer."""
        if not isinstance(event, Signal) or event.signal != signal.SIGKILL or event.roles == ("supervisor",):
            raise JobError(
                f"job {self._name} is on a cluster, where pods of workers, parameter servers and the master can be "
                "killed, and nothing else; use kill worker, kill ps, kill master or scale"
            )
        pods = {_name(pod): pod for pod in self._cluster.list("Pod", self._selector) if _name(pod)}
        name = choose(event, list(pods))
        if name is None:
            return ""
        pod = str(pods[name]["metadata"]["name"])
        self._cluster.delete("Pod", pod, 0)
        return f"SIGKILL to {name} (pod {pod} deleted)"


def _name(pod: Object) -> str:
    """The name of the process in a pod that is not on its way out."""
    metadata = pod["metadata"]
    labels = metadata.get("labels") or {}
    role = labels.get(ROLE, "")
    ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    if not role or ended or metadata.get("deletionTimestamp"):
        return ""
    return role if role == "master" else f"{role}-{labels[INDEX]}"
