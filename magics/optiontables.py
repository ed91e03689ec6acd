"""Tables that magics show: options and their meanings, the session's defaults, a job's options."""

from __future__ import annotations

import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from elasticdl_nb.magics.options import Own
from elasticdl_nb.runtime.spec import JobKind, JobSpec, Option, options

_SUMMARIES: dict[JobKind, str] = {
    "train": "Train the model that the cell defines, or that --model_def names.",
    "evaluate": "Evaluate a trained model.",
    "predict": "Predict with a trained model.",
}
# The options that a newcomer needs, of whichever kind the job is.
_FIRST = ("model_def", "trained_model", "data", "label", "num_epochs", "output", "num_workers")
_LEFT = "text-align:left;vertical-align:top"


class Shown:
    """A table, shown as HTML in notebooks and as text elsewhere."""

    def __init__(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], note: str = "") -> None:
        self.title = title
        self.columns = columns
        self.rows = [list(row) for row in rows]
        self.note = note

    def _repr_html_(self) -> str:
        head = "".join(f'<th style="{_LEFT}">{html.escape(column)}</th>' for column in self.columns)
        body = "".join("<tr>" + _cells(row) + "</tr>" for row in self.rows)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if self.rows else ""
        return "".join(part for part in (_paragraph(self.title), table, _paragraph(self.note)) if part)

    def __repr__(self) -> str:
        from rich import box
        from rich.console import Console
        from rich.table import Table

        parts = [self.title] if self.title else []
        if self.rows:
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
            for column in self.columns:
                table.add_column(column, overflow="fold")
            for row in self.rows:
                table.add_row(*(cell.replace("[", "\\[") for cell in row))
            console = Console(file=io.StringIO(), width=120, force_terminal=False, force_jupyter=False)
            with console.capture() as capture:
                console.print(table)
            parts.append("\n".join(line.rstrip() for line in capture.get().strip("\n").splitlines()))
        return "\n".join([*parts, *([self.note] if self.note else [])])


def _cells(row: Sequence[str]) -> str:
    if len(row) > 2 and not any(row[1:]):
        return f'<th style="{_LEFT}" colspan="{len(row)}">{html.escape(row[0])}</th>'
    return "".join(map(_cell, row))


def _cell(text: str) -> str:
    inside = html.escape(text)
    if text.startswith("--"):
        inside = f"<code>{inside}</code>"
    return f'<td style="{_LEFT}">{inside}</td>'


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>" if text else ""


def help_table(usage: str, summary: str, own: Sequence[Own], kind: JobKind | None = None) -> Shown:
    """Return the table of a magic's options: the job's, by group, then the magic's own."""
    rows = []
    if kind is not None:
        summary = summary or _SUMMARIES[kind]
        declared = options(kind)
        first = [option for name in _FIRST for option in declared if option.name == name]
        rows = [_heading("The ones that matter first"), *(_row(option, kind) for option in first)]
        for group in dict.fromkeys(option.group for option in declared):
            rest = [option for option in declared if option.group == group and option not in first]
            rows += [_heading(group), *(_row(option, kind) for option in rest)] if rest else []
    rows += [_heading("This magic")] if kind and own else []
    rows += [(f"--{one.name}", "" if one.form == "BOOL" else one.form, "", one.help) for one in own]
    note = (
        "Values may refer to the notebook: $name, $name.attribute, {expression}. --data=$frame takes a data frame."
        if kind else ""
    )  # fmt: skip
    return Shown(f"{usage}: {summary}", ("option", "value", "default", "meaning"), rows, note)


def _heading(group: str) -> tuple[str, str, str, str]:
    return group, "", "", ""


def _row(option: Option, kind: JobKind) -> tuple[str, str, str, str]:
    names = option.names(kind)
    meaning = option.help + (f" Also: {', '.join(f'--{name}' for name in names[1:])}." if names[1:] else "")
    form = " | ".join(option.choices) if option.choices else option.form
    default = "required" if option.required else _value(option.default)
    return f"--{option.name}", form, default, meaning


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value))
    return "" if value in ("", {}) else str(value)


def config_table(defaults: Mapping[str, Any]) -> Shown:
    """Return the table of the session's defaults."""
    if not defaults:
        return Shown("No session defaults. Set some: %elasticdl_config --num_workers=2 --minibatch_size=256", (), ())
    rows = [(f"--{name}", _short(value)) for name, value in defaults.items()]
    return Shown("Session defaults of this notebook's jobs:", ("option", "value"), rows)


def spec_table(spec: JobSpec) -> Shown:
    """Return the table of a job's options that differ from their defaults."""
    rows = [
        (f"--{option.name}", _short(getattr(spec, option.name)))
        for option in options(spec.kind)
        if getattr(spec, option.name) != option.default
    ]
    return Shown(f"{spec.kind} job {spec.job_name}, with these options and defaults for the others:",
                 ("option", "value"), rows)  # fmt: skip


def _short(value: Any) -> str:
    text = _value(value) if isinstance(value, (str, int, float, bool, tuple, list, dict)) else type(value).__name__
    return text if len(text) <= 300 else f"{text[:299]}…"
