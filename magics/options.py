"""The text after a magic's name and on a cell's option lines, read as options with their values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from elasticdl_nb.magics.expand import expand
from elasticdl_nb.runtime.errors import ElasticDLError, OptionError, did_you_mean
from elasticdl_nb.runtime.spec import JobKind, find_option, options

_NAME = re.compile(r"--([A-Za-z][\w-]*)")
_BRACKETS = {"(": ")", "[": "]", "{": "}"}


class MagicError(ElasticDLError):
    """A magic's line is not valid; the message says why."""


@dataclass(frozen=True)
class Own:
    """An option of the magic itself, not of the job."""

    name: str
    help: str
    form: str = "BOOL"


WAIT = Own(
    "wait", "Wait until the job has ended (--no_wait: return as soon as it runs). By default, only batch runs wait."
)
AS = Own("as", "Name of the variable for the job's handle (default: job).", "NAME")
DRY_RUN = Own("dry_run", "Check everything, show the code and the job, and start nothing.")
HELP = Own("help", "Show this table.")
JOB_OPTIONS = (WAIT, AS, DRY_RUN, HELP)


@dataclass(frozen=True)
class Request:
    """A magic's line, parsed: `words` before the options, `given` options of the job, `own` options of the magic."""

    words: tuple[str, ...] = ()
    given: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)


def read_request(
    text: str, namespace: Mapping[str, Any], kinds: tuple[JobKind, ...], own: tuple[Own, ...] = JOB_OPTIONS
) -> Request:
    """Return what `text` requests; `$name`, `$name.attribute` and `{expression}` are looked up in the namespace.

    The job's options may be those of any of `kinds`, and keep the names they were given under. Raises OptionError and
    MagicError.
    """
    words, pairs = split(text)
    given: dict[str, Any] = {}
    magic: dict[str, Any] = {}
    mine = {one.name: one for one in own}
    errors: list[OptionError] = []
    for written, raw in pairs:
        name = written.replace("-", "_")
        positive = name.removeprefix("no_")
        try:
            if name in mine or (positive in mine and mine[positive].form == "BOOL"):
                _once(magic, name if name in mine else positive, _own_value(mine, name, raw, namespace))
            elif kinds:
                _once(given, *_job_value(kinds, name, raw, namespace, mine))
            else:
                raise OptionError(name, f"no such option.{did_you_mean(name, mine)}")
        except OptionError as error:
            errors.append(error)
    OptionError.raise_together(errors)
    return Request(tuple(str(expand(word, namespace)) for word in words), given, magic)


def _once(values: dict[str, Any], name: str, value: Any) -> None:
    if name in values:
        raise OptionError(name, "given twice")
    values[name] = value


def _own_value(mine: Mapping[str, Own], name: str, raw: str | None, namespace: Mapping[str, Any]) -> Any:
    if name not in mine:
        return False
    if mine[name].form != "BOOL":
        if not raw:
            raise OptionError(name, "needs a value")
        return str(expand(raw, namespace))
    answers = {None: True, "true": True, "false": False, "True": True, "False": False}
    if raw not in answers:
        raise OptionError(name, f"is a switch and takes no value, but {raw!r} follows it")
    return answers[raw]


def _job_value(
    kinds: tuple[JobKind, ...], name: str, raw: str | None, namespace: Mapping[str, Any], mine: Mapping[str, Own]
) -> tuple[str, Any]:
    switches = {option.name for kind in kinds for option in options(kind) if option.form == "BOOL"}
    if name.startswith("no_") and name.removeprefix("no_") in switches:
        if raw is not None:
            raise OptionError(name, f"takes no value, but {raw!r} follows it")
        return name.removeprefix("no_"), False
    _find(kinds, name, mine)
    if raw is None:
        if name not in switches:
            raise OptionError(name, "needs a value")
        return name, True
    return name, expand(raw, namespace)


def _find(kinds: tuple[JobKind, ...], name: str, mine: Mapping[str, Own]) -> None:
    problem: OptionError | None = None
    for kind in kinds:
        try:
            find_option(kind, name)
            return
        except OptionError as error:
            problem = problem or error
    near = did_you_mean(name, mine)
    if problem is not None and near and "Did you mean" not in problem.problem:
        problem = OptionError(name, problem.problem + near)
    raise problem or OptionError(name, "no such option")


# ------------------------------------------------------------------ the text


def split(text: str) -> tuple[list[str], list[tuple[str, str | None]]]:
    """Return the words before the first option, and each option's name with the text up to the next one.

    A value may contain blanks, with or without quotes. `--` inside quotes or brackets does not begin an option; ` #`
    begins a comment. Raises MagicError for an unclosed quote.
    """
    starts = list(_starts(text))
    head = _without_comments(text[: starts[0]] if starts else text)
    pairs: list[tuple[str, str | None]] = []
    for start, end in zip(starts, [*starts, len(text)][1:], strict=True):
        match = _NAME.match(text, start)
        assert match is not None
        rest = _without_comments(text[match.end() : end]).strip()
        if rest.startswith("="):
            rest = rest[1:].strip()
            pairs.append((match[1], _unquoted(rest)))
        else:
            pairs.append((match[1], _unquoted(rest) if rest else None))
    return head.split(), pairs


def _starts(text: str) -> Iterator[int]:
    for place, _ in _outside(text):
        if text.startswith("--", place) and (place == 0 or text[place - 1].isspace()) and _NAME.match(text, place):
            yield place


def _without_comments(text: str) -> str:
    kept = [text[place] for place, inside in _characters(text) if inside != "#"]
    return "".join(kept)


def _outside(text: str) -> Iterator[tuple[int, str]]:
    """Every position outside quotes, brackets and comments."""
    return ((place, inside) for place, inside in _characters(text) if not inside)


def _characters(text: str) -> Iterator[tuple[int, str]]:
    """Every position, with what encloses it: the closing quote and brackets still to come, or '#' in a comment."""
    awaited = ""
    for place, character in enumerate(text):
        if awaited == "#":
            if character == "\n":
                awaited = ""
            yield place, awaited
            continue
        if awaited and character == awaited[-1]:
            yield place, awaited
            awaited = awaited[:-1]
            continue
        if not awaited.endswith(("'", '"')):
            if character == "#" and (place == 0 or text[place - 1].isspace()):
                awaited = "#"
            elif character in "'\"":
                awaited += character
            elif character in _BRACKETS:
                awaited += _BRACKETS[character]
                yield place, awaited
                continue
        yield place, awaited
    if awaited.strip("#"):
        raise MagicError(f"a closing {awaited[-1]} is missing in: {text.strip()}")


def _unquoted(value: str) -> str:
    """Return the value without quotes that enclose all of it."""
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"" and value[0] not in value[1:-1]:
        return value[1:-1]
    return value
