"""Follows the pods of a job's instances: in goes what the cluster reports, out comes what the master has to know.

A plain object; times are passed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from elasticdl_nb.runtime.platform.base import Exited, InstanceId, News, Runs, Stuck
from elasticdl_nb.runtime.platform.podstate import PodState, state_of

TROUBLE_SECONDS = 120.0
"""Seconds of failed attempts to pull its image or start its container, after which a pod, and the job, are given up."""

ROLE, INDEX, INCARNATION = "elasticdl-replica-type", "elasticdl-replica-index", "elasticdl-incarnation"
"""Labels that say to which instance a pod belongs."""


@dataclass
class _Followed:
    created_at: float | None = None
    """When the cluster confirmed that the pod was created; None before."""
    seen: bool = False
    runs: bool = False
    obstacle: str = ""
    trouble_since: float = 0.0
    hopeless: bool = False


class PodTracker:
    """The pods of one job."""

    def __init__(self) -> None:
        self._followed: dict[InstanceId, _Followed] = {}

    def __contains__(self, instance: InstanceId) -> bool:
        return instance in self._followed

    def instances(self) -> list[InstanceId]:
        """The instances that have not ended."""
        return list(self._followed)

    def expect(self, instance: InstanceId) -> None:
        """A pod is about to be created."""
        self._followed[instance] = _Followed()

    def made(self, instance: InstanceId, now: float) -> None:
        """The cluster has confirmed that the pod was created."""
        if instance in self._followed:
            self._followed[instance].created_at = now

    def refused(self, instance: InstanceId, why: str, hopeless: bool) -> list[News]:
        """The cluster refuses to create the pod, for now or, if `hopeless`, forever."""
        if instance not in self._followed:
            return []
        return self._stuck(instance, PodState("waits", why, hopeless=hopeless))

    def given_up(self, instance: InstanceId) -> list[News]:
        """The pod is no longer wanted: an instance without a pod in the cluster has thereby ended."""
        followed = self._followed.get(instance)
        if followed is None or followed.created_at is not None or followed.seen:
            return []
        return self._ended(instance, PodState("ended", code=-9))

    def observed(
        self, pod: Mapping[str, Any], now: float, *, gone: bool = False, events: Iterable[Mapping[str, Any]] = ()
    ) -> list[News]:
        """A pod is in this state, or gone; `events` are what the cluster said about one that is being deleted."""
        instance = instance_of(pod)
        followed = self._followed.get(instance) if instance else None
        if instance is None or followed is None:
            return []
        followed.seen = True
        state = state_of(pod, gone=gone, events=events)
        if state.stage == "ended":
            return self._ended(instance, state)
        if not state.trouble:
            followed.trouble_since = 0.0
        elif not followed.trouble_since:
            followed.trouble_since = now
        reports = self._stuck(instance, state)
        if state.stage == "runs" and not followed.runs:
            followed.runs = True
            reports.append(Runs(instance))
        return reports

    def listed(self, pods: Iterable[Mapping[str, Any]], asked_at: float, now: float) -> list[News]:
        """These were all the pods at some time after `asked_at`."""
        reports: list[News] = []
        present = set()
        for pod in pods:
            present.add(instance_of(pod))
            reports += self.observed(pod, now)
        for instance, followed in list(self._followed.items()):
            was_made = followed.created_at is not None and followed.created_at < asked_at
            if instance not in present and (followed.seen or was_made):
                gone = PodState("ended", "was deleted from the cluster", code=-9, counts=False, named=True)
                reports += self._ended(instance, gone)
        return reports

    def tick(self, now: float) -> list[News]:
        """Time has passed: give up pods whose trouble has not."""
        reports: list[News] = []
        for instance, followed in self._followed.items():
            since = followed.trouble_since
            if since and now - since > TROUBLE_SECONDS and not followed.hopeless:
                reports += self._stuck(instance, PodState("waits", followed.obstacle, hopeless=True))
        return reports

    def _ended(self, instance: InstanceId, state: PodState) -> list[News]:
        del self._followed[instance]
        reports: list[News] = []
        if state.hopeless:
            reports.append(Stuck(instance, state.text, hopeless=True))
        reason = state.text if state.named else ""
        reports.append(Exited(instance, state.code, state.log_tail, reason=reason, counts=state.counts))
        return reports

    def _stuck(self, instance: InstanceId, state: PodState) -> list[News]:
        followed = self._followed[instance]
        # While it keeps failing, its error message alternates with a mere notice that it will be tried again.
        text = followed.obstacle if state.trouble and followed.obstacle and not state.hopeless else state.text
        if (text, state.hopeless) == (followed.obstacle, followed.hopeless):
            return []
        followed.obstacle, followed.hopeless = text, state.hopeless
        return [Stuck(instance, text, hopeless=state.hopeless)]


def instance_of(pod: Mapping[str, Any]) -> InstanceId | None:
    """Return the instance that a pod belongs to, or None if it is not a worker's or server's pod."""
    labels = pod["metadata"].get("labels") or {}
    if labels.get(ROLE) not in ("worker", "ps"):
        return None
    return InstanceId(labels[ROLE], int(labels[INDEX]), labels[INCARNATION])
