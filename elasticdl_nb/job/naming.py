"""Makes names for jobs that were given none."""

from __future__ import annotations

import os
import random
import re
import time

from elasticdl_nb.given.namedobjects import CAPTURED_MODULE
from elasticdl_nb.runtime.spec import JobKind, JobSpec

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
_SAYS_NOTHING = ("", "custom_model", "model", CAPTURED_MODULE)


def subject_of(spec: JobSpec) -> str:
    """Return one word for the job's subject: its model, or the trained model."""
    parts = [part for part in spec.model_def.split(".") if part not in _SAYS_NOTHING]
    return parts[-1] if parts else os.path.basename(spec.trained_model.rstrip("/"))


def make_name(
    kind: JobKind, subject: str, when: time.struct_time | None = None, choice: random.Random | None = None
) -> str:
    """Return a name that no other job has, such as `train-wide_and_deep-20261122-0418-x7k2`.

    `when` is the time in the name, by default now. `choice` is the random source of the last part, by default the
    system's.
    """
    word = re.sub(r"[^A-Za-z0-9_]+", "_", subject).strip("_")[:30] or "model"
    ending = "".join((choice or random.SystemRandom()).choices(_LETTERS, k=4))
    return f"{kind}-{word}-{time.strftime('%Y%m%d-%H%M', when or time.localtime())}-{ending}"
