"""The `elasticdl` command.

`arguments` makes parsers from `JobSpec`, `signals` turns Ctrl-C into an exception, `output` prints; each other module
has the commands for one subject. Code that Python callers could also need belongs outside this folder.

Exit codes: 0 success, 1 the job failed, 2 a mistake in the command, 130 cancelled, 141 nobody reads its output any
more (as in `elasticdl jobs | head -1`), 143 terminated.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable, Sequence

from elasticdl_nb.cli.arguments import SUMMARIES, UsageError
from elasticdl_nb.cli.output import say, say_json, tell
from elasticdl_nb.cli.signals import Interrupted
from elasticdl_nb.runtime.errors import ElasticDLError, JobFailed, OptionError, did_you_mean
from elasticdl_nb.runtime.spec import KINDS, JobKind

_OTHERS = {
    "jobs": "List the jobs on this machine.",
    "attach": "Show a job's progress until it has ended.",
    "cancel": "End a job.",
    "stop": "End a training that follows its data, with a trained model.",
    "delete": "Remove a job and what it left behind.",
    "scale": "Change a job's number of workers.",
    "chaos": "Kill a job's processes, to see it recover.",
    "logs": "Print the logs of a job's processes.",
    "zoo": "Start a model zoo; build and push its image.",
    "data": "Convert data between formats.",
    "serve": "Serve a trained model's predictions over HTTP and gRPC.",
    "sql": "Run SQL that trains and predicts.",
    "sqlflow-server": "Serve SQL to SQLFlow's clients.",
}

_STDOUT, _STDERR = 1, 2
_Command = Callable[[Sequence[str]], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (by default this process's own) and return its exit code."""
    try:
        code = _run(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        if not _readers_have_left():
            raise
        return 128 + signal.SIGPIPE
    return code


def _readers_have_left() -> bool:
    """Whether nobody reads stdout or stderr any more; what is still to be printed is then discarded."""
    left = False
    for number in (_STDOUT, _STDERR):
        watched = select.poll()
        watched.register(number, 0)
        if watched.poll(0):
            left = True
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
    return left


def _run(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        say(_help())
        return 0
    if arguments[0] == "--version":
        import elasticdl_nb

        say(f"elasticdl_nb {elasticdl_nb.__version__}")
        return 0
    try:
        return _find(arguments[0])(arguments[1:])
    except SystemExit as end:  # argparse, after --help
        return int(end.code or 0)
    except UsageError as error:
        return _refuse(arguments, str(error), 2)
    except OptionError as error:
        return _refuse(arguments, error.as_flags, 2)
    except ElasticDLError as error:
        return _refuse(arguments, str(error), 1 if isinstance(error, JobFailed) else 2)
    except (Interrupted, KeyboardInterrupt) as interrupt:
        code = interrupt.exit_code if isinstance(interrupt, Interrupted) else 130
        return _refuse(arguments, "interrupted", code)


def _refuse(arguments: Sequence[str], message: str, code: int) -> int:
    tell(f"elasticdl {arguments[0]}: {message}")
    if "--json" in arguments:
        say_json({"name": None, "phase": "refused" if code == 2 else None, "error": message})
    return code


def _find(name: str) -> _Command:
    if name in KINDS:
        return lambda arguments: _run_job(name, arguments)
    if name == "attach":
        from elasticdl_nb.cli.running import run_attach

        return run_attach
    if name == "zoo":
        from elasticdl_nb.cli.zoo import run_zoo

        return run_zoo
    if name == "data":
        from elasticdl_nb.cli.converting import run_data

        return run_data
    if name == "sql":
        from elasticdl_nb.cli.sql import run_sql

        return run_sql
    if name == "serve":
        from elasticdl_nb.cli.serve import run_serve

        return run_serve
    if name == "sqlflow-server":
        from elasticdl_nb.cli.serving import run_server

        return run_server
    if name in _OTHERS:
        from elasticdl_nb.cli import managing

        return {
            "jobs": managing.run_jobs,
            "cancel": managing.run_cancel,
            "delete": managing.run_delete,
            "scale": managing.run_scale,
            "stop": managing.run_stop,
            "chaos": managing.run_chaos,
            "logs": managing.run_logs,
        }[name]
    raise UsageError(f"no such command.{did_you_mean(name, [*KINDS, *_OTHERS])} See: elasticdl --help")


def _run_job(kind: JobKind, arguments: Sequence[str]) -> int:
    from elasticdl_nb.cli.running import run_job

    return run_job(kind, arguments)


def _help() -> str:
    commands = [*SUMMARIES.items(), *_OTHERS.items()]
    listed = "\n".join(f"  {name:<16}{summary}" for name, summary in commands)
    return (
        "usage: elasticdl COMMAND [options]\n\n"
        "Train Keras models with elastic jobs, evaluate them, and predict with them.\n\n"
        f"commands:\n{listed}\n\n"
        "  elasticdl COMMAND --help   the options of a command\n"
        "  elasticdl --version        the version"
    )
