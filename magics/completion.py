"""Completes the magics' options and values, in every front end that asks the kernel."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from elasticdl_nb.given.datakinds import is_arrays
from elasticdl_nb.given.frames import is_frame
from elasticdl_nb.job import Job
from elasticdl_nb.magics.columns import columns_of
from elasticdl_nb.magics.commands import ATTACH_OPTIONS, CONFIG_OPTIONS, JOBS_OPTIONS
from elasticdl_nb.magics.models import is_model
from elasticdl_nb.magics.options import JOB_OPTIONS, Own
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.model.reading.keras_names import LOSSES, METRICS, OPTIMIZERS
from elasticdl_nb.runtime.spec import KINDS, JobKind, Option, find_option, options
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

_MAGIC = re.compile(r"\s*%{1,2}elasticdl_(\w+)")
_VALUE = re.compile(r"--(?P<name>[A-Za-z][\w-]*)(?:=|\s+)(?P<value>\S*)$")
_OWN: dict[str, tuple[Own, ...]] = {
    **dict.fromkeys(KINDS, JOB_OPTIONS), "jobs": JOBS_OPTIONS, "attach": ATTACH_OPTIONS, "config": CONFIG_OPTIONS,
}  # fmt: skip


# The common names; Keras has further names for most of them.
_KERAS = {
    "loss": [name for name in LOSSES if "_" in name or name in ("mae", "mse")],
    "optimizer": OPTIMIZERS,
    "eval_metrics_fn": [name for name in METRICS if name.islower()],
}


def make_matcher(namespace: Mapping[str, Any]) -> Callable[[CompletionContext], SimpleMatcherResult]:
    """Return a matcher for `IPCompleter.custom_matchers` that knows the notebook's names."""

    @context_matcher()  # type: ignore[untyped-decorator]
    def elasticdl_matcher(context: CompletionContext) -> SimpleMatcherResult:
        lines = context.full_text.split("\n")[: context.cursor_line]
        fragment, found = complete([*lines, context.text_until_cursor], namespace)
        completions = [SimpleCompletion(text=text, type="keyword") for text in found]
        return SimpleMatcherResult(
            completions=completions, matched_fragment=fragment, suppress=bool(found), ordered=True
        )

    return elasticdl_matcher  # type: ignore[no-any-return]


def complete(lines: list[str], namespace: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the text before the cursor that is to be replaced, and the candidates for it.

    `lines` are the cell's lines up to the cursor.
    """
    magic = _magic_at(lines)
    if magic not in _OWN:
        return "", []
    line = lines[-1]
    value = _VALUE.search(line)
    if value and (value["value"] or line.endswith(("=", " "))) and not value["value"].startswith("--"):
        assigned = line[value.end("name")] == "="
        name = value["name"].replace("-", "_")
        found = _values(magic, name, value["value"], namespace, assigned, "\n".join(lines))
        # After a switch comes the next option.
        if found is not None:
            return value["value"], found
    word = re.search(r"\S*$", line)
    fragment = word[0] if word else ""
    if fragment.startswith("-") or not fragment:
        candidates = _names(magic)
        if magic == "attach" and not fragment:
            candidates = [*_jobs(), *candidates]
        written = fragment.replace("-", "_")
        given = set(re.findall(r"(--[A-Za-z][\w-]*)", "\n".join(lines)[: -len(fragment) or None]))
        return fragment, [
            one for one in candidates if one.replace("-", "_").startswith(written) and one.rstrip("=") not in given
        ]
    if magic == "attach":
        return fragment, [name for name in _jobs() if name.startswith(fragment)]
    return "", []


def _magic_at(lines: list[str]) -> str:
    """The magic whose options are at the cursor; empty if there is none."""
    here = _MAGIC.match(lines[-1])
    if here and re.match(r"\s*%{1,2}elasticdl_\w+\s", lines[-1]):
        return here[1]
    first = next((line for line in lines if line.strip()), "")
    match = _MAGIC.match(first)
    if match is None or not first.lstrip().startswith("%%") or first is lines[-1]:
        return ""
    between = lines[lines.index(first) + 1 :]
    inside = all(line.strip().startswith("--") or not line.strip() for line in between)
    return match[1] if inside and lines[-1].strip().startswith("-") else ""


def _kinds(magic: str) -> tuple[JobKind, ...]:
    return KINDS if magic == "config" else tuple(kind for kind in KINDS if kind == magic)


def _names(magic: str) -> list[str]:
    names = [
        f"--{option.name}" + ("" if option.form == "BOOL" else "=")
        for kind in _kinds(magic)
        for option in options(kind)
    ]
    switches = [name for name in names if not name.endswith("=")]
    negative = [f"--no_{name[2:]}" for name in switches]
    own = [f"--{one.name}" + ("" if one.form == "BOOL" else "=") for one in _OWN[magic]]
    waits = ["--no_wait"] if "--wait" in own else []
    return list(dict.fromkeys([*names, *negative, *own, *waits]))


def _values(
    magic: str, name: str, text: str, namespace: Mapping[str, Any], assigned: bool, written: str
) -> list[str] | None:
    """Values of the option that begin with `text`; None for a switch or an unknown option.

    `assigned` means that the option's name is followed by `=`; `written` are all options up to the cursor.
    """
    for kind in _kinds(magic):
        try:
            option = find_option(kind, name)
        except OptionError:
            continue
        if option.form.startswith("COLUMN"):
            before = text[: text.rfind(",") + 1] if "," in option.form else ""
            return [before + one for one in columns_of(written, namespace) if (before + one).startswith(text)]
        found = _values_of(option, text, namespace, assigned)
        return None if found is None else [one for one in found if one.startswith(text)]
    return None


def _values_of(option: Option, text: str, namespace: Mapping[str, Any], assigned: bool) -> list[str] | None:
    names = {name: value for name, value in namespace.items() if not name.startswith("_")}
    if "{" in text:
        return None
    if option.choices:
        return list(option.choices)
    if option.form == "BOOL":
        return ["true", "false"] if assigned else None
    if text.startswith("$"):
        return [f"${name}" for name in names]
    if option.name == "model_def":
        return [name for name, value in names.items() if is_model(name, value)]
    if option.group == "Model" and option.form == "NAME":
        own = [name for name, value in names.items() if callable(value) and _is_own(value, namespace)]
        return [*own, *sorted(_KERAS.get(option.name, ()))]
    if option.form.startswith(("PATH", "DIR")):
        frames = [f"${name}" for name, value in names.items() if _is_apt(option, value)]
        return [*frames, *_paths(text)]
    # IPython would offer Python's names if nothing else were offered.
    return [str(option.default)] if isinstance(option.default, (int, float)) else []


def _is_apt(option: Option, value: object) -> bool:
    """Whether a value of the notebook can be given for an option that takes a path."""
    if option.name == "trained_model":
        return isinstance(value, Job) and value.spec.kind == "train"
    return option.group == "Data" and (is_frame(value) or (isinstance(value, tuple) and is_arrays(value)))


def _is_own(value: object, namespace: Mapping[str, Any]) -> bool:
    return getattr(value, "__module__", None) == namespace.get("__name__")


def _paths(text: str) -> Iterable[str]:
    found = sorted(glob.glob(glob.escape(os.path.expanduser(text)) + "*"))
    home = os.path.expanduser("~")
    shown = (f"~{path.removeprefix(home)}" if text.startswith("~") else path for path in found)
    return [f"{path}/" if os.path.isdir(os.path.expanduser(path)) else path for path in shown]


def _jobs() -> list[str]:
    return [folder.name for folder in JobFolder.all()]
