"""How often a job writes a version of its model while it trains, as users say it: `publish_every`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elasticdl_nb.runtime.errors import OptionError

if TYPE_CHECKING:
    from elasticdl_nb.runtime.spec.jobspec import JobSpec

_FORM = re.compile(r"(\d[\d_]*(?:\.\d+)?)\s*(s|m|h|d|records?)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_VALID = "expected a time, such as 60s, 10m or 1h, or a number of records, such as '10000 records'"


@dataclass(frozen=True)
class Rhythm:
    """A version at most every so many `seconds`, or every so many `records`; the other is 0."""

    seconds: float = 0.0
    records: int = 0

    @classmethod
    def of(cls, text: str) -> Rhythm | None:
        """Return what users ask for, or None for an empty text. Raises ValueError."""
        if not text.strip():
            return None
        match = _FORM.fullmatch(text.strip().lower())
        if match is None or not float(match[1]):
            raise ValueError(_VALID)
        number = float(match[1])
        if match[2] in _SECONDS:
            return cls(seconds=number * _SECONDS[match[2]])
        if number != math.floor(number):
            raise ValueError(_VALID)
        return cls(records=int(number))

    def is_due(self, seconds: float, records: int) -> bool:
        """Whether a version is due so many seconds and records after the one before."""
        return seconds >= self.seconds and records >= max(1, self.records)

    def steps(self, spec: JobSpec) -> int:
        """Return after how many steps there are so many records; 0 for a rhythm in seconds."""
        batches = 1
        if spec.uses_servers and not spec.use_async:
            batches = spec.grads_to_wait
        elif spec.uses_allreduce and not spec.fixed_global_batch:
            batches = spec.num_workers
        return math.ceil(self.records / (spec.minibatch_size * batches))


def rhythm(value: object) -> str:
    """The form of the option: returns what was given, stripped."""
    if not isinstance(value, str):
        raise ValueError(_VALID)
    Rhythm.of(value)
    return value.strip()


def check_publishing(spec: JobSpec) -> None:
    """Raise OptionError if a job that publishes versions has an option that does not go with that."""
    if not spec.publish_every:
        return
    others = {
        "checkpoint_steps": (
            spec.checkpoint_steps > 0, "versions are made of checkpoints, which are written as often as they are"
        ),
        "overwrite": (spec.overwrite, "versions are added to the folder, and replace nothing"),
        "output": (
            "://" in spec.output and not spec.output.startswith(("file://", "local://")),
            "versions are written to a folder of this machine, not to an object store",
        ),
        "platform": (spec.on_kubernetes, "it is for jobs on this machine"),
    }  # fmt: skip
    for name, (is_wrong, why) in others.items():
        if is_wrong:
            raise OptionError(name, f"given together with publish_every: {why}")
