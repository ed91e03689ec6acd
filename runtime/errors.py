"""The tree of errors that users see.

::

    ElasticDLError
    ├── OptionError        an option of a job is wrong: names it, what was given, what is accepted
    ├── DataError          data is missing, corrupt or not in the declared form
    │   └── DamagedCheckpoint  … and it is a checkpoint, which others may replace
    ├── ModelError         the model's code does not follow the model contract
    ├── ClusterError       the Kubernetes cluster is unreachable or refuses a request
    ├── CaptureError       what a notebook or script defines cannot be packaged; lists every problem
    ├── ImageError         a Docker image cannot be built or pushed
    ├── JobError           a job ended without a result
    │   ├── JobFailed      … because of an error, which it carries
    │   └── JobCancelled   … because someone cancelled it
    ├── JobNotFound        no job of that name on this machine
    └── SqlError           a SQL statement is wrong; in elasticdl_nb.sql, shows line and column

Each message is complete in itself: command lines and notebooks print it without a traceback.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from typing import Any


class ElasticDLError(Exception):
    """Root of the errors this package raises on purpose."""

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows for the error."""
        return [f"{type(self).__name__}: {self}"]


class OptionError(ElasticDLError):
    """An option of a job is wrong: `option`, and why in `problem`. `others` are wrong as well."""

    def __init__(self, option: str, problem: str, others: tuple[OptionError, ...] = ()) -> None:
        super().__init__("\n".join([f"{option}: {problem}", *map(str, others)]))
        self.option = option
        self.problem = problem
        self.others = others

    @staticmethod
    def raise_together(errors: Iterable[OptionError]) -> None:
        """Raise these errors as one; do nothing if there are none."""
        told = list(errors)
        if told:
            raise OptionError(told[0].option, told[0].problem, tuple(told[1:]))

    @property
    def as_flags(self) -> str:
        """The same message with options as they are written on command lines."""
        return "\n".join(f"--{error}" for error in (OptionError(self.option, self.problem), *self.others))

    def __reduce__(self) -> tuple[type[OptionError], tuple[Any, ...]]:
        return type(self), (self.option, self.problem, self.others)  # so that it can come from another process


class DataError(ElasticDLError):
    """Data is missing, corrupt, or not in the declared form."""


class DamagedCheckpoint(DataError):
    """A file of a checkpoint is missing, truncated or changed; `checkpoint` is the checkpoint's folder."""

    def __init__(self, message: str, checkpoint: str | os.PathLike[str]) -> None:
        super().__init__(message)
        self.checkpoint = os.fspath(checkpoint)

    def __reduce__(self) -> tuple[type[DamagedCheckpoint], tuple[str, str]]:
        return type(self), (str(self), self.checkpoint)


class ModelError(ElasticDLError):
    """The model's code does not follow the model contract."""


class ClusterError(ElasticDLError):
    """The Kubernetes cluster is unreachable or refuses a request; `status` is HTTP's, or 0 without an answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[type[ClusterError], tuple[str, int]]:
        return type(self), (str(self), self.status)

    @property
    def may_pass(self) -> bool:
        """Whether the same request may well succeed a little later."""
        return self.status in (0, 408, 429) or self.status >= 500


class CaptureError(ElasticDLError):
    """What a notebook or script defines cannot be packaged; `problems` lists each name, its place and the remedy."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("the model cannot be packaged:\n" + "\n".join(f"  - {problem}" for problem in self.problems))


class ImageError(ElasticDLError):
    """A Docker image cannot be built or pushed."""


class JobError(ElasticDLError):
    """A job ended without a result."""


class JobFailed(JobError):
    """A job ended because of an error; `traceback` is that of the process that failed, and may be empty.

    IPython shows it before the message, unless it is `folded`: where a notebook's picture of the job has it.
    """

    def __init__(self, message: str, traceback: str = "", *, folded: bool = False) -> None:
        super().__init__(message)
        self.traceback = traceback
        self.folded = folded

    def _render_traceback_(self) -> list[str]:
        if self.folded and self.traceback:
            return [*super()._render_traceback_(), "Its traceback: in the job's picture, or print(job.logs())"]
        return [*self.traceback.rstrip().splitlines(), *super()._render_traceback_()]


class JobCancelled(JobError):
    """A job was cancelled before its end."""


class JobNotFound(ElasticDLError):
    """No job of that name is known on this machine."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the nearest of `known`, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""
