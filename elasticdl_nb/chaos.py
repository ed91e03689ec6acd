"""Chaos on purpose: kill a job's processes, or change their number, to see that the job recovers.

    from elasticdl_nb import chaos

    chaos.unleash(job, chaos.parse_schedule("10s kill worker-0; 20s scale 4"), print)
    chaos.unleash(job, chaos.poisson(5, kills=30))

See docs/elasticity.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from elasticdl_nb.job import Job
from elasticdl_nb.runtime import chaos
from elasticdl_nb.runtime.chaos import ROLES, Event, Scale, Signal, parse_schedule, poisson
from elasticdl_nb.runtime.errors import JobError

__all__ = ["ROLES", "Event", "Scale", "Signal", "parse_schedule", "poisson", "unleash"]


def unleash(job: Job, events: Iterable[Event], tell: Callable[[str], None] = lambda line: None) -> int:
    """Make the events happen to a job on this machine, until the last one or the end of the job; return how many did.

    `tell` gets a line about each. Raises JobError for a job on a cluster, whose processes cannot be reached.
    """
    if job.folder.cluster():
        raise JobError(f"job {job.name} is on a cluster; use kubectl delete pod there instead")
    return chaos.unleash(job.folder, events, tell)
