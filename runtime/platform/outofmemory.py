"""Whether the system has killed processes because memory ran out, as far as it says so.

Linux counts such kills for each control group (container, service) and for the machine, but does not say whom it has
killed. So a process that was killed by a signal from outside counts as a victim if the count has risen within the last
seconds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

LOOK_SECONDS = 2.0
"""How often `look` should be called."""

_MACHINE = Path("/proc/vmstat")


def counters(process: Path = Path("/proc/self"), groups: Path = Path("/sys/fs/cgroup")) -> list[Path]:
    """The files that count these kills for this process's control group, or else for the machine."""
    found = []
    with contextlib.suppress(OSError):
        for line in (process / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            inner = path.lstrip("/")
            if not controllers:
                found += [groups / inner / "memory.events", groups / "memory.events"]
            elif "memory" in controllers.split(","):
                found += [groups / "memory" / inner / "memory.oom_control", groups / "memory" / "memory.oom_control"]
    return [path for path in dict.fromkeys(found) if _count(path) is not None] or [_MACHINE]


class OutOfMemory:
    """Watches these counters."""

    def __init__(self, paths: Iterable[Path] | None = None) -> None:
        self._paths = list(counters() if paths is None else paths)
        self._before = self._seen = self._counts()

    def look(self) -> None:
        """Note the counts; those of the time before last are forgotten."""
        self._before, self._seen = self._seen, self._counts()

    def has_struck(self) -> bool:
        """Whether a process was killed since the last time but one that anyone looked."""
        return any(now > before for now, before in zip(self._counts(), self._before, strict=True))

    def _counts(self) -> list[int]:
        return [_count(path) or 0 for path in self._paths]


def _count(path: Path) -> int | None:
    """The number in a counter's file; None if it has none."""
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return None
