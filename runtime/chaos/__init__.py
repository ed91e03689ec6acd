"""Trouble on purpose: processes die, stop, lose their connections, and workers join, while a job runs.

`schedule` says what happens when, as plain, repeatable lists or generators. `blows` makes it happen to processes of
this machine, `trial` to a job, and `ledger` keeps account of what each blow has cost. What happens to pods of a cluster
is in the layers above.
"""

from elasticdl_nb.runtime.chaos.blows import Hand, LocalHand, processes
from elasticdl_nb.runtime.chaos.ledger import Blow, Ledger, Report
from elasticdl_nb.runtime.chaos.schedule import (
    ACTS,
    ROLES,
    Cut,
    Delay,
    Event,
    Scale,
    Signal,
    choose,
    parse_schedule,
    poisson,
)
from elasticdl_nb.runtime.chaos.trial import trial, unleash
from elasticdl_nb.runtime.storage.locks import Process

__all__ = [
    "ACTS", "ROLES", "Blow", "Cut", "Delay", "Event", "Hand", "Ledger", "LocalHand", "Process", "Report", "Scale",
    "Signal", "choose", "parse_schedule", "poisson", "processes", "trial", "unleash",
]  # fmt: skip
