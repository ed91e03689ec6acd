"""The declaration of a job: `JobSpec`, its options, and the forms in which their values may be written.

`modeloptions`, `dataoptions`, `resultoptions`, `streamoptions`, `runningoptions` and `clusteroptions` declare every
option with its help text; `jobspec` puts them together. `together` says which options need others to have an effect,
`bounds` is what is said of an embedding's table, and `alarms` of a metric. `option` defines what a declaration consists
of; `forms` and `literals` parse what users write. Python arguments, flags, magics, SQL, help texts and validation are
all derived from these fields. A check that has to look at a model, at data or at the network to decide whether a value
is valid belongs in `elasticdl_nb.given`, not here.
"""

from elasticdl_nb.runtime.spec.jobspec import (
    COMPRESSIONS,
    KINDS,
    LOG_LEVELS,
    STRATEGIES,
    JobKind,
    JobSpec,
    Option,
    find_option,
    options,
)
from elasticdl_nb.runtime.spec.together import ARRAY_INPUT

__all__ = [
    "ARRAY_INPUT",
    "COMPRESSIONS",
    "KINDS",
    "LOG_LEVELS",
    "STRATEGIES",
    "JobKind",
    "JobSpec",
    "Option",
    "find_option",
    "options",
]
