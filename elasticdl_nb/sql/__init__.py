"""SQL that trains, evaluates, explains and predicts: `elasticdl_nb.sql("SELECT … TRAIN …")`, or a `Session`.

The package can be called: see `run`. The language is described in docs/sql.md.

`server` and `calling` are two ways to use a `session`, which runs statements. `execution` runs those that start jobs,
with the help of `verbs`, and `submitter` writes a program that does the same. Below these are `writing` (into tables),
`following` (rows that appear later), `features` (made from columns), `models` and `engines`. At the bottom are the
`language` and the `record` that is kept with each model. Imports go down only. `zoo` is code for workers.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elasticdl_nb.job.display import ProgressChoice
    from elasticdl_nb.sql.calling import run
    from elasticdl_nb.sql.language.errors import SqlError
    from elasticdl_nb.sql.language.parser import parse
    from elasticdl_nb.sql.result import Result
    from elasticdl_nb.sql.session import Session

__all__ = ["Result", "Session", "SqlError", "parse", "run"]

_HOMES = {
    "Result": "result",
    "Session": "session",
    "SqlError": "language.errors",
    "parse": "language.parser",
    "run": "calling",
}


class _Callable(types.ModuleType):
    def __call__(
        self,
        text: str,
        *,
        connect: Any = None,
        store: str | None = None,
        params: Mapping[str, Any] | None = None,
        namespace: Mapping[str, Any] | None = None,
        wait: bool | None = None,
        progress: ProgressChoice = None,
    ) -> Result:
        """Run statements and return the last one's result; see `run`."""
        from elasticdl_nb.sql.calling import run

        return run(text, connect=connect, store=store, params=params, namespace=namespace, wait=wait, progress=progress)

    def __getattr__(self, name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        setattr(self, name, value)
        return value


sys.modules[__name__].__class__ = _Callable
