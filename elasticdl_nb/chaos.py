"""Chaos on purpose: kill or stop a job's processes, cut or delay their connections, and see that the job recovers.

    from elasticdl_nb import chaos

    report = chaos.trial(job, chaos.poisson(5, kills=30, roles=chaos.ROLES, acts=chaos.ACTS), print)
    print(*report.lines(), sep="\n")

See docs/elasticity.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from elasticdl_nb.job import Job
from elasticdl_nb.runtime import chaos
from elasticdl_nb.runtime.chaos import (
    ACTS,
    ROLES,
    Blow,
    Cut,
    Delay,
    Event,
    Hand,
    Report,
    Scale,
    Signal,
    parse_schedule,
    poisson,
)

__all__ = [
    "ACTS", "ROLES", "Blow", "Cut", "Delay", "Event", "Report", "Scale", "Signal", "parse_schedule", "poisson", "trial",
    "unleash",
]  # fmt: skip

_COUNTS = "uses"


def unleash(job: Job, events: Iterable[Event], tell: Callable[[str], None] = lambda line: None) -> int:
    """Make the events happen to a job, until the last one or the end of the job; return how many did.

    `tell` gets a line about each. In a cluster, pods are deleted; raises JobError for what cannot be done to them.
    """
    return chaos.unleash(job.folder, events, tell, hand=_hand(job))


def trial(job: Job, events: Iterable[Event], tell: Callable[[str], None] = lambda line: None) -> Report:
    """Make the events happen to a job, follow it to its end, and report the cost of each, and how records were used.

    A model counts uses itself if it has an embedding named "uses", with a row for each record to which each use adds
    one. An interrupt ends the trial, not the job. Raises what `unleash` raises.
    """
    report = chaos.trial(job.folder, events, tell, hand=_hand(job))
    if report.phase == "SUCCEEDED" and job.spec.kind == "train":
        report.uses = _uses(Path(job.output) / "parameters.safetensors")
    return report


def _hand(job: Job) -> Hand | None:
    if not job.folder.cluster():
        return None
    from elasticdl_nb.job.clusterchaos import PodHand

    return PodHand(job.folder)


def _uses(parameters: Path) -> Mapping[float, int]:
    """What a model that counts has counted: how many records were used how often; empty for others."""
    if not parameters.exists():
        return {}
    import safetensors.numpy

    arrays = safetensors.numpy.load_file(parameters)
    counts = [array for name, array in arrays.items() if _COUNTS in name.replace("/", ".").split(".")]
    return Counter(counts[0].reshape(-1).tolist()) if len(counts) == 1 else {}
