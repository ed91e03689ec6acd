"""Which coordinator a job has."""

from __future__ import annotations

from elasticdl_nb.runtime.master.decisions.coordinator import Coordinator
from elasticdl_nb.runtime.master.decisions.ring_coordinator import RingCoordinator
from elasticdl_nb.runtime.master.decisions.server_coordinator import ServedCoordinator
from elasticdl_nb.runtime.spec import JobSpec


def coordinator_of(spec: JobSpec) -> Coordinator:
    """Return a new coordinator for this kind of job."""
    if spec.uses_allreduce:
        return RingCoordinator(spec)
    return ServedCoordinator(spec) if spec.uses_servers else Coordinator(spec)
