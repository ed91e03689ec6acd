"""Follows the pods of a job's instances: what the cluster says of pods in, what the master has to know out.

A plain object; times are passed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from elasticdl_nb.runtime.platform.base import Exited, InstanceId, Stuck
from elasticdl_nb.runtime.platform.podstate import PodState, state_of

TROUBLE_SECONDS = 120.0
"""After so long of failed attempts to fetch its image or to start its container, a pod is given up, and the job."""

ROLE, INDEX, INCARNATION = "elasticdl-replica-type", "elasticdl-replica-index", "elasticdl-incarnation"
"""Labels that say whose pod it is."""


@dataclass
class _Followed:
    created_at: float | None = None
    """When the cluster had confirmed that it was made; None before."""
    seen: bool = False
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
        """Those that have not ended."""
        return list(self._followed)

    def expect(self, instance: InstanceId) -> None:
        """A pod is about to be made."""
        self._followed[instance] = _Followed()

    def made(self, instance: InstanceId, now: float) -> None:
        """The cluster has confirmed that the pod was made."""
        if instance in self._followed:
            self._followed[instance].created_at = now

    def refused(self, instance: InstanceId, why: str, hopeless: bool) -> list[Exited | Stuck]:
        """The cluster does not make the pod, now or, if it is hopeless, ever."""
        if instance not in self._followed:
            return []
        return self._stuck(instance, PodState("waits", why, hopeless=hopeless))

    def given_up(self, instance: InstanceId) -> list[Exited | Stuck]:
        """The pod is not to be: an instance that the cluster has made no pod of has ended by that."""
        followed = self._followed.get(instance)
        if followed is None or followed.created_at is not None or followed.seen:
            return []
        return self._ended(instance, PodState("ended", code=-9))

    def observed(
        self, pod: Mapping[str, Any], now: float, *, gone: bool = False, events: Iterable[Mapping[str, Any]] = ()
    ) -> list[Exited | Stuck]:
        """A pod is in this state, or no more; `events` is what the cluster has said of one that is leaving."""
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
        return self._stuck(instance, state)

    def listed(self, pods: Iterable[Mapping[str, Any]], asked_at: float, now: float) -> list[Exited | Stuck]:
        """These are all the pods there were at a time not before `asked_at`."""
        reports: list[Exited | Stuck] = []
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

    def tick(self, now: float) -> list[Exited | Stuck]:
        """Time passes: give up pods whose trouble does not."""
        reports: list[Exited | Stuck] = []
        for instance, followed in self._followed.items():
            since = followed.trouble_since
            if since and now - since > TROUBLE_SECONDS and not followed.hopeless:
                reports += self._stuck(instance, PodState("waits", followed.obstacle, hopeless=True))
        return reports

    def _ended(self, instance: InstanceId, state: PodState) -> list[Exited | Stuck]:
        del self._followed[instance]
        reports: list[Exited | Stuck] = []
        if state.hopeless:
            reports.append(Stuck(instance, state.text, hopeless=True))
        reason = state.text if state.named else ""
        reports.append(Exited(instance, state.code, state.log_tail, reason=reason, counts=state.counts))
        return reports

    def _stuck(self, instance: InstanceId, state: PodState) -> list[Exited | Stuck]:
        followed = self._followed[instance]
        # While it fails again and again, what it says now and then alternates with a mere "it is tried again later".
        text = followed.obstacle if state.trouble and followed.obstacle and not state.hopeless else state.text
        if (text, state.hopeless) == (followed.obstacle, followed.hopeless):
            return []
        followed.obstacle, followed.hopeless = text, state.hopeless
        return [Stuck(instance, text, hopeless=state.hopeless)]


def instance_of(pod: Mapping[str, Any]) -> InstanceId | None:
    """Return whose pod it is, or None for a pod that is not one of a worker or server."""
    labels = pod["metadata"].get("labels") or {}
    if labels.get(ROLE) not in ("worker", "ps"):
        return None
    return InstanceId(labels[ROLE], int(labels[INDEX]), labels[INCARNATION])
