"""`%sqlflow` and `%%sqlflow`: SQL that trains, evaluates, explains and predicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from IPython.display import Code, display

from elasticdl_nb.job import Job
from elasticdl_nb.job.display import notes
from elasticdl_nb.job.starting import waits
from elasticdl_nb.magics.displays import display_for, say
from elasticdl_nb.magics.options import MagicError
from elasticdl_nb.magics.optiontables import Shown, help_table
from elasticdl_nb.magics.sqlline import OPTIONS, SqlLine, filled, read_line
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.sql.engines.parameters import plain_value
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.lexical import Dialect, Placeholder, dialect_of, placeholders
from elasticdl_nb.sql.language.parser import parse

if TYPE_CHECKING:
    from elasticdl_nb.sql.result import Result
    from elasticdl_nb.sql.session import Session

_SUMMARY = "Run SQL that trains, evaluates, explains and predicts. Options come before the SQL, on the first line."
_NOTE = "name << SELECT … stores the result in a variable: name.df(), name.arrow(), name.pl(). See docs/sql.md."


@magics_class
class SQLFlowMagics(Magics):
    """The magic of one shell, with its session."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._connect: Any = None
        self._store: str | None = None
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        """The session, which is opened for the first statement."""
        if self._session is None:
            self._session = self._open(self._connect, self._store)
        return self._session

    def _open(self, connect: Any, store: str | None) -> Session:
        from elasticdl_nb.sql.session import Session

        return Session(connect, store, namespace=self.shell.user_ns)

    @no_var_expand
    @line_cell_magic
    def sqlflow(self, line: str, cell: str | None = None) -> None:
        """Run SQL that trains and predicts. See: %sqlflow --help."""
        __tracebackhide__ = True
        request = read_line(line, self.shell.user_ns)
        if request.options.get("help"):
            display(help_table("%%sqlflow", f"{_SUMMARY} {_NOTE}", OPTIONS))  # type: ignore[no-untyped-call]
            return
        self._set_up(request)
        text = _text(line, request, cell)
        if request.options.get("template"):
            text = filled(text, request.params, self.shell.user_ns)
        if not text.strip():
            self._show_session(request)
            return
        params = {**_notebooks(text, self.session, self.shell.user_ns), **request.params}
        if request.options.get("dry_run") or request.options.get("show_program"):
            self._show_plans(text, params, program=bool(request.options.get("show_program")))
        else:
            self._run(text, params, request)

    def close(self) -> None:
        """End the session, if there is one."""
        if self._session is not None:
            self._session.close()
            self._session = None

    # ------------------------------------------------------------ the session

    def _set_up(self, request: SqlLine) -> None:
        if not request.options.keys() & {"connect", "store"}:
            return
        connect, store = request.options.get("connect", self._connect), request.options.get("store", self._store)
        session = self._open(connect, store)
        self.close()
        self._connect, self._store, self._session = connect, store, session

    def _show_session(self, request: SqlLine) -> None:
        if request.target:
            raise MagicError(f"no SQL follows {request.target} <<")
        session = self.session
        listed = [("database", session.engine.label), ("tables", _list(session.tables())),
                  ("trained models", _list(session.models()))]  # fmt: skip
        display(Shown("", ("", "%sqlflow"), listed, "" if request.options else "Options: %sqlflow --help"))  # type: ignore[no-untyped-call]

    # ------------------------------------------------------------ statements

    def _run(self, text: str, params: Mapping[str, Any], request: SqlLine) -> None:
        wait = waits(request.options.get("wait"))
        variable = str(request.options.get("as", "job"))
        if not variable.isidentifier():
            raise OptionError("as", f"{variable!r} is not a valid variable name")
        left = len(parse(text, self.session.dialect, params))

        def show(job: Job) -> None:
            self.shell.user_ns[variable] = job
            # In a live notebook, the session itself waits for every job except that of a final TRAIN.
            display_for(self.shell).show(job, wait=wait)

        with notes(say):
            for result in self.session.results(text, params=params, wait=wait, on_job=show, on_message=say):
                left -= 1
                self._take(result, request.target if not left else "")

    def _take(self, result: Result, target: str) -> None:
        if target:
            self.shell.user_ns[target] = result
            for message in result.messages:
                say(message)
        elif result.table is not None or result.messages or result.plot:
            display(result)  # type: ignore[no-untyped-call]

    def _show_plans(self, text: str, params: Mapping[str, Any], *, program: bool) -> None:
        with notes(say):
            for plan in self.session.plan(text, params=params):
                if program and plan.program:
                    display(Code(plan.program, language="python"))  # type: ignore[no-untyped-call]
                else:
                    say(f"{plan}\n")
        say("Nothing was done: this was a dry run.")


def _text(line: str, request: SqlLine, cell: str | None) -> str:
    """Return the SQL with the same lines and columns as in the notebook's cell."""
    magic = "%sqlflow " if cell is None else "%%sqlflow "
    first = " " * (len(magic) + request.start) + line[request.start :]
    return first if cell is None else f"{first}\n{cell}"


def _notebooks(text: str, session: Session, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The notebook's values to which the statements, or the queries in their WITH, refer as `:name`."""
    dialect = dialect_of(session.dialect)
    names = {place.name for part in (text, *_strings(text, dialect)) for place in _placeholders(part, dialect)}
    found = {name: namespace[name] for name in names if name in namespace}
    return {name: value for name, value in found.items() if _can_be_bound(value)}


def _placeholders(text: str, dialect: Dialect) -> list[Placeholder]:
    try:
        return placeholders(text, dialect)
    except SqlError:  # a string that is no query, or what `parse` is going to refuse
        return []


def _strings(text: str, dialect: Dialect) -> list[str]:
    try:
        return [token.text[1:-1] for token in dialect.tokens(text) if token.kind == "string"]
    except SqlError:
        return []


def _can_be_bound(value: Any) -> bool:
    try:
        plain_value(value, "")
    except SqlError:
        return False
    return True


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
