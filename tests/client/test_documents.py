"""What the documents say, as far as a program can check it against the code."""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from elasticdl_nb.cli import converting, managing, running, serve, serving, sql, zoo
from elasticdl_nb.cli.arguments import JobParser, Parser
from elasticdl_nb.magics import commands, sqlline
from elasticdl_nb.magics.options import JOB_OPTIONS
from elasticdl_nb.runtime.spec import KINDS

ROOT = Path(__file__).parents[2]
CODE = ("runtime", "elasticdl_nb", "magics", "widgets", "model_zoo")
DOCUMENTS = sorted(
    path for place in ("*", "docs/**/*", "model_zoo/*", "benchmarks/*") for path in ROOT.glob(f"{place}.md")
)
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def prose(path: Path) -> str:
    """The text of a document, or of a notebook's markdown cells."""
    text = path.read_text()
    if path.suffix != ".ipynb":
        return text
    return "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")


def sources() -> Iterator[Path]:
    for folder in CODE:
        yield from (path for path in (ROOT / folder).rglob("*.py") if "_pb2" not in path.name)


# ------------------------------------------------------------ links and paths


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", _FENCED.sub("", prose(path)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [*DOCUMENTS, *NOTEBOOKS], ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _FENCED.sub("", prose(path))):
        if re.match(r"https?://", target):
            continue
        file, _, anchor = target.partition("#")
        place = (path.parent / file).resolve() if file else path
        assert place.exists(), f"{target}: no such file"
        if anchor:
            assert anchor in anchors(place), f"{target}: no such heading"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_files_that_are_named_exist(path: Path) -> None:
    for named in re.findall(rf"`((?:{'|'.join(CODE)}|tests|benchmarks|notebooks)/[\w/.-]*)`", prose(path)):
        assert (ROOT / named).exists(), f"{named}: no such file"


# ------------------------------------------------------------ examples


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_python_examples_compile(path: Path) -> None:
    for language, code in _FENCED.findall(prose(path)):
        if language == "python":
            compile(plain_python(textwrap.dedent(code)), name_of(path), "exec")


def plain_python(code: str) -> str:
    """A cell without its magics; what follows a `%%elasticdl_…` line is Python, and what follows `%%sqlflow` is not."""
    first, _, rest = code.partition("\n")
    if first.startswith("%%"):
        return rest if first.startswith("%%elasticdl") else ""
    return re.sub(r"^%.*$", "", code, flags=re.MULTILINE)


@pytest.mark.timeout(600)
def test_the_first_program_does_what_the_readme_says(tmp_path: Path) -> None:
    program = next(code for language, code in _FENCED.findall(prose(ROOT / "README.md")) if language == "python")
    (tmp_path / "first.py").write_text(program)
    environment = {**os.environ, "ELASTICDL_HOME": os.fspath(tmp_path / "home")}
    done = subprocess.run([sys.executable, "first.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    metrics, _, frame = done.stdout.strip().partition("\n")
    assert ast.literal_eval(metrics)["accuracy"] > 0.9
    assert frame.split("\n")[0].split() == ["x", "y", "inside", "prediction", "probability"]
    assert (tmp_path / "circle" / "trained_model.pb").exists()


# ------------------------------------------------------------ options


class _Made(Exception):
    """Carries a parser out of the command that made it."""


def options_of_commands(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every option of every command and magic, with its dashes."""

    def stop(parser: Parser, _arguments: object) -> None:
        raise _Made(parser)

    monkeypatch.setattr(Parser, "parse", stop)
    runs = [
        managing.run_jobs, managing.run_cancel, managing.run_delete, managing.run_scale, managing.run_chaos,
        managing.run_logs, running.run_attach, sql.run_sql, serving.run_server, serve.run_serve,
        lambda _: converting.run_data(["convert"]),
        *(lambda _, name=name: zoo.run_zoo([name]) for name in ("init", "build", "push")),
    ]  # fmt: skip
    parsers: list[Parser] = [JobParser(kind) for kind in KINDS]
    for run in runs:
        with pytest.raises(_Made) as made:
            run([])
        parsers.append(made.value.args[0])
    flags = {flag for parser in parsers for action in parser._actions for flag in action.option_strings}
    own = (*JOB_OPTIONS, *commands.JOBS_OPTIONS, *commands.ATTACH_OPTIONS, *commands.CONFIG_OPTIONS, *sqlline.OPTIONS)
    flags |= {f"--{prefix}{one.name}" for one in own for prefix in ("", "no_")}
    return {*flags, "--version", "--help"}


# Options of other programs: docker build, pip, TensorBoard, and scripts of benchmarks/.
FOREIGN = {"--mount", "--strategy", "--logdir"}


def test_options_that_are_named_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    known = options_of_commands(monkeypatch) | FOREIGN
    for path in [*DOCUMENTS, *NOTEBOOKS]:
        for flag in re.findall(r"(?<![\w-])--[a-z]\w+", prose(path)):
            assert flag in known, f"{name_of(path)} names {flag}, which no command takes"


# ------------------------------------------------------------ messages


@functools.cache
def texts_of_the_code() -> str:
    """All that string literals say, parts of f-strings and neighbours put together as Python does."""
    constants = [
        node.value
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return "\n".join(constants)


@pytest.mark.parametrize("path", [ROOT / "docs" / "troubleshooting.md", ROOT / "docs" / "images.md"], ids=name_of)
def test_messages_that_are_quoted_are_in_the_code(path: Path) -> None:
    tables = re.findall(r"^\| message.*?\n\n", prose(path) + "\n\n", re.DOTALL | re.MULTILINE)
    assert tables
    for quoted in re.findall(r"^\| `([^`]+)` \|", "".join(tables), re.MULTILINE):
        for part in quoted.split("…"):
            said = part.strip() in texts_of_the_code()
            assert said, f"no message says {part.strip()!r}"


# ------------------------------------------------------------ SECURITY.md


def security_rows() -> list[str]:
    return [line for line in (ROOT / "SECURITY.md").read_text().splitlines() if line.startswith("| `")]


def test_tests_that_security_names_exist() -> None:
    for row in security_rows():
        for file, names in re.findall(r"`(tests/[\w/]+\.py)`:? ?((?:`[^`/]+`(?:, )?)*)", row):
            text = (ROOT / file).read_text()
            for name in re.findall(r"`([^`]+)`", names):
                assert f"def {name}(" in text or f'"{name}"' in text, f"{file} has no {name}"


RISKY_MODULES = {"subprocess", "pickle", "tarfile", "zipfile", "gzip", "runpy", "marshal", "shelve"}
RISKY_CALLS = {"exec", "eval", "exec_module", "create_subprocess_exec", "create_subprocess_shell", "unpack_archive"}


def is_risky(tree: ast.Module) -> bool:
    """Whether a module starts programs, runs code by name, or unpacks something; imports of its own package aside."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and {alias.name for alias in node.names} & RISKY_MODULES:
            return True
        if isinstance(node, ast.ImportFrom) and node.module in RISKY_MODULES:
            return True
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in RISKY_CALLS:
                return True
            if called == "import_module" and not ast.unparse(node.args[0]).startswith(("f'{__name__}", "'")):
                return True
    return False


def test_security_names_every_place_that_starts_or_unpacks_something() -> None:
    listed = "\n".join(security_rows())
    for path in sources():
        has_row = f"`{name_of(path)}`" in listed
        assert has_row or not is_risky(ast.parse(path.read_text())), f"SECURITY.md has no row for {name_of(path)}"
