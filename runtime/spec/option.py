"""A job's option: a field of a dataclass that also says how users see and write it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from elasticdl_nb.runtime.spec import forms

JobKind = Literal["train", "evaluate", "predict"]
KINDS: tuple[JobKind, ...] = get_args(JobKind)


@dataclass(frozen=True)
class Option:
    """How users see one field of `JobSpec`; `parse` turns what they wrote into the field's value."""

    name: str
    help: str
    parse: Callable[[Any], Any]
    form: str
    default: Any
    jobs: tuple[JobKind, ...]
    group: str
    aliases: Mapping[str, tuple[str, ...]]
    required: bool
    choices: tuple[str, ...]

    def names(self, kind: JobKind) -> tuple[str, ...]:
        """Every name under which jobs of this kind take the option, its own first."""
        return (self.name, *self.aliases.get(kind, ()))


def option(
    help: str,
    *,
    group: str,
    parse: Callable[[Any], Any] = forms.text,
    form: str = "TEXT",
    default: Any = "",
    jobs: tuple[JobKind, ...] = KINDS,
    aliases: Mapping[str, tuple[str, ...]] | None = None,
    required: bool = False,
    choices: tuple[str, ...] = (),
) -> Any:
    """Return a dataclass field that is an option of jobs of these kinds."""
    metadata = dict(
        help=help, parse=parse, form=form, jobs=jobs, group=group, required=required, choices=choices,
        aliases=aliases or {},
    )  # fmt: skip
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)
