"""Command-line parsers; those for jobs are derived from `JobSpec`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from elasticdl_nb.job import Job, attach
from elasticdl_nb.runtime.errors import OptionError, did_you_mean
from elasticdl_nb.runtime.spec import JobKind, Option, find_option, options

SUMMARIES: dict[JobKind, str] = {
    "train": "Train a model, and show its progress until it has ended.",
    "evaluate": "Evaluate a trained model.",
    "predict": "Predict with a trained model.",
}

_USAGES: dict[JobKind, str] = {
    "train": "--model_def=NAME --data=PATH [--model_zoo=DIR] [--output=DIR] [options]",
    "evaluate": "--trained_model=DIR --data=PATH [options]",
    "predict": "--trained_model=DIR --data=PATH --output=PATH [options]",
}


class UsageError(Exception):
    """The command line is wrong; the message says how."""


class Parser(argparse.ArgumentParser):
    """An argument parser that raises UsageError, allows no abbreviations, and accepts `--a-b` for `--a_b`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of exiting."""
        raise UsageError(message)

    def print_help(self, file: Any = None) -> None:
        """Print the options. argparse would not notice that nobody reads its output."""
        print(self.format_help(), end="", file=file, flush=True)

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Return the values of the arguments; raise UsageError for an unknown one."""
        namespace, unknown = self.parse_known_args([_with_underscores(argument) for argument in arguments])
        if unknown:
            raise UsageError(self.explain(unknown[0]))
        return namespace

    def explain(self, unknown: str) -> str:
        """Return what is wrong with an unknown argument."""
        flag = unknown.partition("=")[0]
        if not flag.startswith("-"):
            return f"unexpected argument {unknown!r} (quote globs, so that the shell does not expand them)"
        return f"no such option: {flag}.{did_you_mean(flag, self._option_string_actions)}"


class JobParser(Parser):
    """The parser of `elasticdl train`, `evaluate` or `predict`.

    The job's options are collected, as written, in the namespace's `given`.
    """

    def __init__(self, kind: JobKind) -> None:
        super().__init__(
            prog=f"elasticdl {kind}", usage=f"elasticdl {kind} {_USAGES[kind]}", description=SUMMARIES[kind]
        )
        self._kind = kind
        self.set_defaults(given={})
        groups: dict[str, argparse._ArgumentGroup] = {}
        for option in options(kind):
            group = groups.get(option.group) or groups.setdefault(
                option.group, self.add_argument_group(option.group.lower())
            )
            _add_option(group, option, kind)
        _add_client_options(self.add_argument_group("this command"))

    def explain(self, unknown: str) -> str:
        """Also say which other command has the option."""
        name = unknown.partition("=")[0].removeprefix("--")
        try:
            find_option(self._kind, name)
        except OptionError as error:
            if unknown.startswith("--") and "only of" in error.problem:
                return f"--{name}: {error.problem}"
        return super().explain(unknown)


class _Gather(argparse.Action):
    """Stores a value under the name it was given with, for JobSpec to interpret."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, flag: str | None = None
    ) -> None:
        name = (flag or "").removeprefix("--")
        if name.startswith("no_") and self.const == "false":
            name = name.removeprefix("no_")
        namespace.given = {**namespace.given, name: self.const if self.nargs == 0 else value}


def _add_option(group: argparse._ArgumentGroup, option: Option, kind: JobKind) -> None:
    flags = [f"--{name}" for name in option.names(kind)]
    help = option.help.replace("%", "%%") + _default(option)
    if option.form != "BOOL":
        group.add_argument(*flags, action=_Gather, dest=option.name, metavar=option.form, help=help)
        return
    # Both forms exist; the help shows the one that differs from the default.
    yes, no = (argparse.SUPPRESS, help) if option.default else (help, argparse.SUPPRESS)
    group.add_argument(*flags, action=_Gather, dest=option.name, nargs="?", const="true", metavar="BOOL", help=yes)
    negative = [f"--no_{name}" for name in option.names(kind)]
    group.add_argument(*negative, action=_Gather, dest=option.name, nargs=0, const="false", help=_negated(no))


def _default(option: Option) -> str:
    if option.required:
        return " (required)"
    if option.choices:
        return f" One of {', '.join(option.choices)} (default: {option.default})."
    return f" (default: {option.default})" if option.default and option.form != "BOOL" else ""


def _negated(help: str) -> str:
    return help if help == argparse.SUPPRESS else f"Turns off: {help[0].lower()}{help[1:]}"


def _add_client_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--detach", action="store_true", help="Return as soon as the job runs; it continues by itself.")
    group.add_argument("--dry_run", action="store_true", help="Check everything, show the job, and start nothing.")
    add_output_options(group)


def add_output_options(group: argparse._ActionsContainer) -> None:
    """Add the options that control what is printed."""
    group.add_argument("--json", action="store_true", help="End stdout with one line of JSON about the job.")
    group.add_argument("--quiet", action="store_true", help="Show no progress, only the result.")


def add_cluster_options(parser: argparse._ActionsContainer) -> None:
    """Add the options that say in which cluster to look for jobs."""
    parser.add_argument("--namespace", metavar="NAME", default="", help="Look in this namespace of the cluster.")
    parser.add_argument("--kube_context", metavar="NAME", default="", help="Look in the cluster of this context.")


def add_job(parser: argparse._ActionsContainer) -> None:
    """Add the arguments that name a job."""
    parser.add_argument("name", metavar="NAME")
    add_cluster_options(parser)


def the_job(parsed: argparse.Namespace) -> Job:
    """Return the job that these arguments name; raise JobNotFound or ClusterError."""
    return attach(parsed.name, kube_context=parsed.kube_context, namespace=parsed.namespace)


def _with_underscores(argument: str) -> str:
    if not argument.startswith("--") or argument == "--":
        return argument
    flag, equals, value = argument.partition("=")
    return "--" + flag[2:].replace("-", "_") + equals + value
