"""What a statement would do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from elasticdl_nb.sql.language.statements import Statement


@dataclass(frozen=True)
class Plan:
    """What one statement would do, once everything that can be checked has been checked.

    `features` (one line each) and `job` (the job's options) are shown to users. `program` is the Python program, the
    submitter, that does the same; it is empty for statements that start no job.
    """

    statement: Statement
    query: str
    features: tuple[str, ...] = ()
    job: dict[str, Any] = field(default_factory=dict)
    messages: tuple[str, ...] = ()
    program: str = ""

    def __str__(self) -> str:
        parts = [("query", self.query)]
        parts += [("feature" if number == 0 else "", line) for number, line in enumerate(self.features)]
        parts += [(name, repr(value)) for name, value in self.job.items()]
        parts += [("note", message) for message in self.messages]
        width = max(len(name) for name, _ in parts)
        return "\n".join(f"{name:<{width}}  {text}" for name, text in parts)
