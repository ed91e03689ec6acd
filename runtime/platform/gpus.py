"""Which GPUs of this machine a worker sees: finding them, and giving them to workers by turns.

`Shares` decides and does no I/O. GPUs are found without TensorFlow, and named as CUDA_VISIBLE_DEVICES names them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.spec import JobSpec

VISIBLE = "CUDA_VISIBLE_DEVICES"
NONE = "-1"
"""The value with which CUDA shows no GPU."""
WHOLE = 1000
"""The parts of a GPU: requests are in thousandths, so that sums are exact."""

_DRIVER = Path("/proc/driver/nvidia/gpus")
_SECONDS = 20.0
_LISTED = re.compile(r"^(\s*)(GPU|MIG)\b.*\(UUID: ([\w./-]+)\)\s*$")


def requested(spec: JobSpec) -> int:
    """Return how many thousandths of a GPU each worker requests; 0 if nothing is said of GPUs."""
    given = spec.worker_resource_request.get("nvidia.com/gpu", "0")
    return round(float(given[:-1])) if given.endswith("m") else round(float(given) * WHOLE)


class Shares:
    """Who has which GPUs. Each worker gets `each` thousandths: a part of one GPU, or whole ones that nobody shares.

    With 0, every worker gets the GPU that has the fewest workers.
    """

    def __init__(self, gpus: Sequence[str], each: int = 0) -> None:
        self._gpus, self._each = tuple(gpus), each
        self._held: dict[Hashable, tuple[str, ...]] = {}

    @property
    def room(self) -> int | None:
        """How many workers can have what they request at the same time; None if any number can."""
        if not self._each:
            return None
        whole = self._each // WHOLE
        return len(self._gpus) // whole if whole else len(self._gpus) * (WHOLE // self._each)

    def take(self, who: Hashable) -> tuple[str, ...]:
        """Give a worker its GPUs, always those with the fewest workers; none if there is no GPU on this machine.

        More workers than there is room for, such as one that comes while another is ending, share with others.
        """
        if who not in self._held:
            workers = Counter(gpu for held in self._held.values() for gpu in held)
            order = sorted(self._gpus, key=lambda gpu: workers[gpu])  # stable, so the first comes first
            self._held[who] = tuple(order[: max(1, self._each // WHOLE)])
        return self._held[who]

    def adopt(self, who: Hashable, gpus: Sequence[str]) -> None:
        """A worker has had these since before this object was made."""
        self._held[who] = tuple(gpu for gpu in gpus if gpu in self._gpus)

    def free(self, who: Hashable) -> None:
        """A worker is gone; does nothing if it had none."""
        self._held.pop(who, None)


def shares_for(spec: JobSpec, outer: Mapping[str, str] = os.environ) -> Shares | None:
    """Return the GPUs that a job's workers share, or None if they see what this process sees.

    That is so for a single worker without a request, if the job sets CUDA_VISIBLE_DEVICES itself, and without a GPU.
    """
    each = requested(spec)
    if VISIBLE in spec.envs or not (each or (spec.num_workers > 1 and not spec.trains_alone)):
        return None
    gpus = visible(on_this_machine(), outer.get(VISIBLE))
    return Shares(gpus, each) if gpus else None


def check(spec: JobSpec, outer: Mapping[str, str] = os.environ) -> None:
    """Raise OptionError if a job on this machine requests more of its GPUs than there are."""
    each = requested(spec)
    if not each:
        return
    option, given = "worker_resource_request", f"gpu={each / WHOLE:g}"
    if VISIBLE in spec.envs:
        raise OptionError(option, f"{given}, but envs sets {VISIBLE}, which decides the same; give only one of them")
    if each > WHOLE and each % WHOLE:
        raise OptionError(option, f"{given} is not valid; give a whole number, or a part of one GPU such as gpu=0.5")
    gpus = visible(on_this_machine(), outer.get(VISIBLE))
    if not gpus:
        hidden = f", as {VISIBLE} shows none of them" if outer.get(VISIBLE) is not None else ""
        raise OptionError(option, f"{given}, but no NVIDIA GPU can be used on this machine{hidden}; leave gpu out")
    workers = 1 if spec.trains_alone else spec.num_workers
    room = Shares(gpus, each).room or 0
    if room < workers:
        raise OptionError(
            option,
            f"{given} for each of {workers} workers, but this machine has {len(gpus)}, enough for {room}; "
            "request less, or start fewer workers",
        )


def on_this_machine() -> tuple[str, ...]:
    """Return the names of this machine's GPUs, and of the parts of those that are divided by MIG; empty if none."""
    program = shutil.which("nvidia-smi")
    if program is not None:
        try:
            said = subprocess.run(
                [program, "-L"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=True
            )
        except (OSError, subprocess.SubprocessError):
            pass
        else:
            return listed(said.stdout)
    return tuple(str(number) for number in range(len([*_DRIVER.glob("*")])))


def listed(text: str) -> tuple[str, ...]:
    """Return the names in what `nvidia-smi -L` prints; a GPU that is divided is named by its parts."""
    names: list[tuple[str, str]] = []
    for line in text.splitlines():
        if found := _LISTED.match(line):
            kind, name = found.group(2), found.group(3)
            if kind == "MIG" and names and names[-1][0] == "GPU":
                names.pop()
            names.append((kind, name))
    return tuple(name for _, name in names)


def visible(gpus: Sequence[str], outer: str | None) -> tuple[str, ...]:
    """Return those that CUDA_VISIBLE_DEVICES shows, in its order; like CUDA, stop at the first that does not exist.

    It has numbers, or the beginnings of names.
    """
    if outer is None:
        return tuple(gpus)
    found: list[str] = []
    for item in (part.strip() for part in outer.split(",")):
        if item.isdecimal():
            matching = [gpus[int(item)]] if int(item) < len(gpus) else []
        else:
            matching = [gpu for gpu in gpus if item and gpu.startswith(item)]
        if len(matching) != 1:
            break
        if matching[0] not in found:
            found.append(matching[0])
    return tuple(found)


def seen_by(pid: int) -> tuple[str, ...]:
    """Return the GPUs that a process on this machine was started with; empty if that cannot be known."""
    try:
        lines = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ()
    start = f"{VISIBLE}=".encode()
    return next((tuple(line[len(start) :].decode().split(",")) for line in lines if line.startswith(start)), ())
