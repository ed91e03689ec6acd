"""Which strategy a worker trains by: decided here, once for each process, and nowhere else.

Everything that depends on it is a method or attribute of the strategy's object; see `strategies`. Imports no
TensorFlow, because a worker speaks to the master before that is loaded.
"""

from __future__ import annotations

import enum

from elasticdl_nb.runtime.spec import JobSpec


class Choice(enum.Enum):
    """A way to train."""

    NOT_AT_ALL = "not at all: a job that evaluates or predicts"
    ALONE = "in this process alone"
    SERVERS = "with parameters on servers"
    RING = "together with all other workers"

    @classmethod
    def of(cls, spec: JobSpec) -> Choice:
        """Return how the workers of a job train."""
        if spec.uses_servers:
            return cls.SERVERS
        if spec.uses_allreduce:
            return cls.RING
        return cls.ALONE if spec.trains_alone else cls.NOT_AT_ALL

    @property
    def has_neighbours(self) -> bool:
        """Whether other workers connect to this one."""
        return self is Choice.RING
