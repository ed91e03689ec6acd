"""`elasticdl sql`: run statements from a file, the command line or stdin."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from elasticdl_nb.cli.arguments import Parser, UsageError
from elasticdl_nb.cli.output import say, say_json, tell
from elasticdl_nb.cli.running import CommandDisplay
from elasticdl_nb.cli.signals import interruptible
from elasticdl_nb.job.display import notes
from elasticdl_nb.runtime.errors import JobCancelled, OptionError
from elasticdl_nb.sql.engines.parameters import read_parameters
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Position
from elasticdl_nb.sql.result import ROWS_SHOWN, Result, python_values
from elasticdl_nb.sql.session import Session


def run_sql(arguments: Sequence[str]) -> int:
    """Run `elasticdl sql …`; return the exit code."""
    parsed = _parser().parse(arguments)
    params = read_parameters(parsed.param)
    text = _text(parsed)
    display = CommandDisplay(quiet=parsed.quiet or parsed.json, json=parsed.json)
    with interruptible(), notes(tell), Session(parsed.connect or None, parsed.store or None) as session:
        if parsed.dry_run or parsed.show_program:
            _show_plans(session, text, params, parsed)
            return 0
        try:
            told = None if parsed.json else say
            for result in session.results(text, params=params, on_job=display.follow, on_message=told):
                _show(result, parsed)
        except JobCancelled as error:
            tell(str(error))
            return display.exit_code or 130
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="elasticdl sql",
        usage="elasticdl sql [-f FILE | -e SQL] [--connect=URL] [options]   (without -f and -e: SQL from stdin)",
        description="Run SQL statements, with TRAIN, PREDICT, EVALUATE and EXPLAIN, in order; stop at the first error.",
    )
    add = parser.add_argument
    add("-f", "--file", metavar="FILE", help="Read the statements from a file; - for stdin.")
    add("-e", "--execute", metavar="SQL", help="The statements themselves.")
    add_session_options(parser)
    add("--param", metavar="NAME=VALUE", action="append", default=[], help="The value of :NAME in the statements.")
    add("--dry_run", action="store_true", help="Check everything, show what would be done, and do nothing.")
    add("--show_program", action="store_true", help="Print the Python programs that would run, and do nothing.")
    add("--rows", metavar="N", type=int, default=ROWS_SHOWN, help=f"Rows to print; 0 for all (default: {ROWS_SHOWN}).")
    add("--json", action="store_true", help="Print a line of JSON for each statement, with all of its rows.")
    add("--quiet", action="store_true", help="Show no progress of jobs, only results.")
    return parser


def add_session_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for where data and models are."""
    add = parser.add_argument
    add("--connect", metavar="URL", default="", help="The database: a DuckDB file or the URL of a server, such as "
        "postgresql://user@host/name (default: DuckDB in memory).")  # fmt: skip
    add("--store", metavar="DIR", default="", help="Where trained models are kept (default: a directory of this user).")


def _text(parsed: argparse.Namespace) -> str:
    if parsed.file is not None and parsed.execute is not None:
        raise UsageError("-f and -e were both given; use only one of them")
    if parsed.execute is not None:
        return str(parsed.execute)
    if parsed.file in (None, "-"):
        binary = getattr(sys.stdin, "buffer", None)
        return _decoded(binary.read(), "stdin") if binary is not None else sys.stdin.read()
    try:
        with open(parsed.file, "rb") as file:
            return _decoded(file.read(), parsed.file)
    except OSError as error:
        raise OptionError("file", f"{parsed.file} cannot be read: {error}") from None


def _decoded(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8", "replace").removeprefix("\ufeff")
        source = before + content[error.start :].decode("utf-8", "replace")
        problem = f"{where} is not UTF-8: the byte 0x{content[error.start]:02x} is not valid here"
        raise SqlError(problem, Position.of(source, len(before)), source) from None


def _show(result: Result, parsed: argparse.Namespace) -> None:
    if parsed.json:
        say_json(as_json(result))
    elif text := result.text(parsed.rows or None):
        say(text)


def as_json(result: Result) -> dict[str, Any]:
    """Return what programs need to know about a result."""
    table = result.table
    values: dict[str, Any] = {"statement": result.statement.text, "messages": list(result.messages)}
    if table is not None:
        rows = zip(*map(python_values, table.columns), strict=True)
        values |= {"columns": table.column_names, "rows": json.loads(json.dumps(list(rows), default=_plain))}
    if result.job is not None:
        values["job"] = result.job.name
    return values


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _show_plans(session: Session, text: str, params: dict[str, Any], parsed: argparse.Namespace) -> None:
    for plan in session.plan(text, params=params):
        if parsed.json:
            say_json({"statement": plan.statement.text, "query": plan.query, "features": list(plan.features),
                      "job": plan.job, "messages": list(plan.messages), "program": plan.program})  # fmt: skip
        elif parsed.show_program:
            say(plan.program or f"# no job: {plan.query}")
        else:
            say(f"{plan}\n")
