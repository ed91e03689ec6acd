"""The magics: `%%elasticdl_train` and the others for jobs."""

from __future__ import annotations

import ast
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand
from IPython.display import display

from elasticdl_nb.capture import split_options
from elasticdl_nb.job import Job, attach
from elasticdl_nb.job.display import notes
from elasticdl_nb.job.listing import JobList, jobs
from elasticdl_nb.job.starting import Start, waits
from elasticdl_nb.magics.displays import display_for, say
from elasticdl_nb.magics.dryrun import show_dry_run
from elasticdl_nb.magics.models import fill_in
from elasticdl_nb.magics.options import AS, HELP, JOB_OPTIONS, WAIT, MagicError, Own, Request, read_request, split
from elasticdl_nb.magics.optiontables import config_table, help_table
from elasticdl_nb.runtime.control.status import is_over
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.spec import KINDS, JobKind, find_option

RESET = Own("reset", "Forget all session defaults.")
RUNNING = Own("running", "Only jobs that have not ended.")
JOBS_OPTIONS = (RUNNING, HELP)
ATTACH_OPTIONS = (WAIT, AS, HELP)
CONFIG_OPTIONS = (WAIT, RESET, HELP)


@magics_class
class ElasticDLMagics(Magics):
    """The magics of one shell, with its session defaults (`%elasticdl_config`)."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self.defaults: dict[str, Any] = {}
        self.own_defaults: dict[str, Any] = {}

    @no_var_expand
    @line_cell_magic
    def elasticdl_train(self, line: str, cell: str | None = None) -> None:
        """Train the model that this cell defines, or that --model_def names. See: %elasticdl_train --help."""
        __tracebackhide__ = True
        self._run("train", line, cell)

    @no_var_expand
    @line_cell_magic
    def elasticdl_evaluate(self, line: str, cell: str | None = None) -> None:
        """Evaluate a trained model. See: %elasticdl_evaluate --help."""
        __tracebackhide__ = True
        self._run("evaluate", line, cell)

    @no_var_expand
    @line_cell_magic
    def elasticdl_predict(self, line: str, cell: str | None = None) -> None:
        """Predict with a trained model. See: %elasticdl_predict --help."""
        __tracebackhide__ = True
        self._run("predict", line, cell)

    @no_var_expand
    @line_magic
    def elasticdl_jobs(self, line: str) -> JobList | None:
        """List the jobs of this machine."""
        request = read_request(line, self.shell.user_ns, (), JOBS_OPTIONS)
        if request.own.get("help"):
            display(help_table("%elasticdl_jobs", "List the jobs of this machine, the newest first.", JOBS_OPTIONS))  # type: ignore[no-untyped-call]
            return None
        found = jobs()
        return JobList([job for job in found if not is_over(job.status())]) if request.own.get("running") else found

    @no_var_expand
    @line_magic
    def elasticdl_attach(self, line: str) -> None:
        """Show a job again, and bind its handle."""
        request = read_request(line, self.shell.user_ns, (), ATTACH_OPTIONS)
        if request.own.get("help"):
            summary = "Show a job, by default the latest one, running or ended, and bind its handle to `job`."
            display(help_table("%elasticdl_attach [NAME]", summary, ATTACH_OPTIONS))  # type: ignore[no-untyped-call]
            return
        if len(request.words) > 1:
            raise MagicError("%elasticdl_attach takes the name of one job; %elasticdl_jobs lists them")
        job = attach(request.words[0]) if request.words else _latest()
        self.shell.user_ns[self._variable(request)] = job
        display_for(self.shell).show(job, wait=waits(request.own.get("wait")))

    @no_var_expand
    @line_magic
    def elasticdl_config(self, line: str) -> None:
        """Show and set the session's default options."""
        request = read_request(line, self.shell.user_ns, KINDS, CONFIG_OPTIONS)
        if request.own.get("help"):
            summary = "Show the default options for this notebook's jobs. Options given here become defaults."
            display(help_table("%elasticdl_config", summary, CONFIG_OPTIONS))  # type: ignore[no-untyped-call]
            return
        if request.own.get("reset"):
            self.defaults.clear()
            self.own_defaults.clear()
        for name, value in request.given.items():
            self.defaults[_checked(name, value)] = value
        if "wait" in request.own:
            self.own_defaults["wait"] = request.own["wait"]
        display(config_table({**self.defaults, **self.own_defaults}))  # type: ignore[no-untyped-call]

    # ------------------------------------------------------------ jobs

    def _run(self, kind: JobKind, line: str, cell: str | None) -> None:
        __tracebackhide__ = True
        option_lines, body = split_options(cell or "")
        # Read once before the body runs, so that a mistake in the options costs no time, and again after it, since
        # the options may refer to what it defines.
        text = "\n".join([line, *option_lines])
        if "--help" in text.split():
            display(help_table(f"%%elasticdl_{kind}", "", JOB_OPTIONS, kind))  # type: ignore[no-untyped-call]
            return
        above = 1 + (cell or "").count("\n") - body.count("\n")
        if "dry_run" in _check_options(kind, text):
            _, given = self._understood(kind, text, body, above)
            show_dry_run(kind, given)
            return
        cell_display = display_for(self.shell, kind)
        with Start(kind, cell_display) as start, notes(say):
            start.begin("running the cell")
            request, given = self._understood(kind, text, body, above)
            variable = self._variable(request)
            wait = waits(request.own.get("wait", self.own_defaults.get("wait")))
            self.shell.user_ns[variable] = job = start.submit(given, detach=not wait, waited=wait)
        cell_display.show(job, wait=wait)

    def _understood(self, kind: JobKind, text: str, body: str, above: int) -> tuple[Request, dict[str, Any]]:
        """Run the cell's Python; return the request, and the job's options with the notebook's objects in them."""
        __tracebackhide__ = True
        defined = self._run_body(body, above) if body.strip() else []
        request = read_request(text, self.shell.user_ns, (kind,))
        if request.words:
            raise MagicError(f"{request.words[0]!r} is not an option; options begin with --, as in --data=PATH")
        return request, self._with_defaults(kind, fill_in(kind, request.given, self.shell.user_ns, defined))

    def _with_defaults(self, kind: JobKind, given: dict[str, Any]) -> dict[str, Any]:
        apt = {name: value for name, value in self.defaults.items() if _takes(kind, name)}
        return {**apt, **given}

    def _run_body(self, body: str, above: int) -> list[str]:
        """Run the cell's Python in the notebook; return the names it binds at its top level.

        `above` lines of the cell are above it: errors count the lines of the whole cell.
        """
        __tracebackhide__ = True
        history = self.shell.history_manager
        # Not `execution_count`, which versions of IPython raise at different times.
        number = len(history.input_hist_raw) - 1 if history else 0
        try:
            source = "\n" * above + self.shell.transform_cell(body)  # type: ignore[no-untyped-call]
            tree = self.shell.transform_ast(self.shell.compile.ast_parse(source))  # type: ignore[no-untyped-call]
        except SyntaxError as error:  # IPython would show it with every frame from here up
            text = f": {error.text.strip()}" if error.text else ""
            raise MagicError(f"cell [{number}], line {error.lineno}: {error.msg}{text}") from None
        code = self.shell.compile(tree, self.shell.compile.cache(source, number, raw_code=source), "exec")
        exec(code, self.shell.user_ns)  # noqa: S102  the user's own cell
        return list(_bound(tree))

    def _variable(self, request: Request) -> str:
        name = request.own.get("as", "job")
        if not str(name).isidentifier():
            raise OptionError("as", f"{name!r} is not a valid variable name")
        return str(name)


def _check_options(kind: JobKind, text: str) -> set[str]:
    """Return the options' names; raise OptionError for all that do not exist, and for values that are not valid.

    Values that refer to the notebook's are left alone, as the cell may define those.
    """
    own = {one.name for one in JOB_OPTIONS} | {f"no_{one.name}" for one in JOB_OPTIONS}
    given = [(name.replace("-", "_"), raw) for name, raw in split(text)[1]]
    errors = []
    for name, raw in given:
        try:
            if _takes(kind, name) and raw and not set(raw) & set("${"):
                _checked(name, raw, (kind,))
            elif name not in own and not _takes(kind, name.removeprefix("no_")):
                find_option(kind, name)
        except OptionError as error:
            errors.append(error)
    OptionError.raise_together(errors)
    return {name for name, _ in given}


def _latest() -> Job:
    """Return the job that was started last among those that run, or else among all."""
    found = jobs()
    if not found:
        raise MagicError("there is no job on this machine yet")
    return next((job for job in found if not is_over(job.status())), found[0])


def _takes(kind: JobKind, name: str) -> bool:
    try:
        return bool(find_option(kind, name))
    except OptionError:
        return False


def _checked(name: str, value: Any, kinds: tuple[JobKind, ...] = KINDS) -> str:
    """Return the option's main name; raise OptionError for a value that no job would accept."""
    for kind in kinds:
        if _takes(kind, name):
            option = find_option(kind, name)
            try:
                option.parse(value)
            except (ValueError, TypeError) as error:
                raise OptionError(name, f"{value!r} is not valid: {error}") from None
            return option.name
    raise OptionError(name, "no such option")


def _bound(tree: ast.Module) -> dict[str, None]:
    names: dict[str, None] = {}
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names[node.name] = None
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                names |= {name.id: None for name in ast.walk(target) if isinstance(name, ast.Name)}
    return names
