"""Helper modules, run files, requirements, and the packaged module's form."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from notebook_shell import Loaded, Notebook

from elasticdl_nb.capture import Captured, check, split_options, verify, write_zoo
from elasticdl_nb.runtime.errors import CaptureError


def captured(source: str, modules: dict[str, str] | None = None) -> Captured:
    return Captured(source, [], modules or {}, [], [])


def test_written_modules_are_shipped_with_the_modules_they_import(notebook: Notebook) -> None:
    notebook.run(
        "%%writefile nb_outer.py\nfrom nb_inner import K\ndef scale(x): return x * K",
        "%%writefile nb_inner.py\nK = 7",
        "%%writefile unused.py\nraise SystemExit",
        "from nb_outer import scale\ndef f(x): return scale(x)",
    )
    packaged = notebook.capture("f")
    assert set(packaged.modules) == {"nb_outer.py", "nb_inner.py"}
    verify(packaged, ["f"])
    assert Loaded(packaged).value("f(2)") == 14


def test_local_packages_are_shipped_whole(notebook: Notebook) -> None:
    Path("nb_pkg/sub").mkdir(parents=True)
    Path("nb_pkg/__init__.py").write_text("from .sub.deep import value\n")
    Path("nb_pkg/sub/__init__.py").write_text("")
    Path("nb_pkg/sub/deep.py").write_text("value = 3\n")
    notebook.run("import nb_pkg.sub.deep\ndef f(): return nb_pkg.value + nb_pkg.sub.deep.value")
    packaged = notebook.capture("f")
    assert set(packaged.modules) == {"nb_pkg/__init__.py", "nb_pkg/sub/__init__.py", "nb_pkg/sub/deep.py"}
    verify(packaged, ["f"])


def test_star_import_of_a_written_module_names_what_is_used(notebook: Notebook) -> None:
    notebook.run(
        "%%writefile nb_star.py\nA = 1\ndef g(): return A\nB = 2", "from nb_star import *", "def f(): return g() + B"
    )
    packaged = notebook.capture("f")
    assert "from nb_star import B, g" in packaged.source
    assert Loaded(packaged).value("f()") == 3


def test_files_and_notebooks_that_were_run_count_as_cells(notebook: Notebook) -> None:
    Path("tools.py").write_text("K = 2\ndef helper(x):\n    return x * K\n")
    Path("more.ipynb").write_text(
        '{"cells": [{"cell_type": "code", "source": ["def other(x):\\n", "    return x + 1"]}]}'
    )
    notebook.run("%run -i tools.py", "def other(x):\n    return x + 1", "def f(x): return helper(other(x))")
    packaged = notebook.capture("f")
    assert "cell [1], %run tools.py" in packaged.source
    assert Loaded(packaged).value("f(3)") == 8


def test_requirements_are_pinned_distributions_without_the_standard_library(notebook: Notebook) -> None:
    notebook.run(
        "import json, numpy as np\nfrom sklearn.preprocessing import StandardScaler\nimport pandas as pd",
        "def f(): return np.ones(3), json.dumps(1), StandardScaler()",
    )
    requirements = notebook.capture("f").requirements
    assert f"numpy=={np.__version__}" in requirements
    assert {line.partition("==")[0] for line in requirements} == {"numpy", "scikit-learn"}


def test_what_a_cell_installs_is_required(notebook: Notebook) -> None:
    notebook.shell.system = lambda command: None  # nothing is really installed
    notebook.shell.find_line_magic("pip")
    notebook.shell.register_magic_function(lambda line: None, "line", "pip")
    notebook.run(
        "!pip install -q no-such-dist-xyz>=1.2 PyYAML",
        "%pip install --index-url https://x.example/simple 'other-xyz[extra]==2'",
        "!pip install git+https://me:pass@x.example/r.git",
        "def f(): pass",
    )
    packaged = notebook.capture("f")
    assert "no-such-dist-xyz>=1.2" in packaged.requirements
    assert "other-xyz[extra]==2" in packaged.requirements
    assert any(line.startswith("PyYAML==") for line in packaged.requirements)
    assert "pass" not in "".join([*packaged.requirements, *packaged.warnings]).replace("left out", "")


def test_body_of_an_own_magic_counts_without_its_options(notebook: Notebook) -> None:
    notebook.shell.register_magic_function(
        lambda line, cell: notebook.shell.ex(split_options(cell)[1]), "cell", "elasticdl_train"
    )
    notebook.run(
        "%%elasticdl_train --num_epochs 1\n--data x.csv\n\n--params 'a=1'\nclass M:\n    def v(self): return K", "K = 4"
    )
    packaged = notebook.capture("M")
    assert Loaded(packaged).value("M().v()") == 4
    assert "--data" not in packaged.source


def test_options_continue_over_backslashes_and_end_at_the_first_other_line() -> None:
    options, body = split_options("--a 1\n\n--b \\\n   2\nx = --3\n--y\n")
    assert options == ["--a 1", "--b", "2"]
    assert body == "x = --3\n--y\n"


def test_module_says_where_each_part_came_from_and_leads_with_imports(notebook: Notebook) -> None:
    notebook.run(
        "from __future__ import annotations\nimport math",
        "K = 2",
        "unused = 1",
        "# Halves.\ndef half(x):\n    return x / K  # exact",
        "import os\ndef f(x): return math.ceil(half(x)), os.sep",
    )
    packaged = notebook.capture("f")
    assert packaged.cells == [1, 2, 4, 5]
    body = ast.parse(packaged.source).body
    assert [type(node).__name__ for node in body] == [
        "ImportFrom",
        "Import",
        "Import",
        "Assign",
        "FunctionDef",
        "FunctionDef",
    ]
    assert packaged.source.startswith("# Packaged by elasticdl_nb: f, with what they need.\n")
    assert "# Halves.\ndef half(x):\n    return x / K  # exact" in packaged.source
    assert "#   cell [4]  half\n" in packaged.source
    assert "unused" not in packaged.source


def test_unbound_names_are_found_without_running_anything() -> None:
    with pytest.raises(CaptureError, match="'nowhere' \\(line 2 of the packaged module\\)"):
        check(captured("def f(x):\n    return nowhere(x)\n"))


def test_module_that_cannot_be_imported_is_refused_with_its_error() -> None:
    with pytest.raises(CaptureError, match="ZeroDivisionError"):
        verify(captured("x = 1 / 0\n"), ["x"])


def test_module_that_lacks_a_name_is_refused() -> None:
    with pytest.raises(CaptureError, match="does not define Model"):
        verify(captured("x = 1\n"), ["Model"])


def test_zoo_holds_module_requirements_and_helpers(tmp_path: Path) -> None:
    write_zoo(Captured("x = 1\n", ["numpy==2"], {"pkg/a.py": "y = 2\n"}, [], [1]), tmp_path / "zoo", module="model")
    files = {
        path.relative_to(tmp_path / "zoo").as_posix(): path.read_text() for path in (tmp_path / "zoo").rglob("*.*")
    }
    assert files == {"model.py": "x = 1\n", "requirements.txt": "numpy==2\n", "pkg/a.py": "y = 2\n"}


def test_helper_with_the_name_of_the_packaged_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"notebook\.py.*rename"):
        write_zoo(captured("x = 1\n", {"notebook.py": ""}), tmp_path)


def test_files_that_code_names_travel_and_are_found_from_another_folder(notebook: Notebook, tmp_path: Path) -> None:
    Path("data").mkdir()
    Path("data/vocab.txt").write_text("a b")
    Path("nb_reads.py").write_text("def words(): return open('words.txt').read()\n")
    Path("words.txt").write_text("w")
    Path("big.bin").write_bytes(b"\0" * (21 << 20))
    notebook.run(
        "from pathlib import Path\nfrom nb_reads import words\nVOCAB = 'data/vocab.txt'",
        "def f(): return open(VOCAB).read(), (Path('data') / 'vocab.txt').exists(), words(), Path('big.bin')",
    )
    packaged = notebook.capture("f")
    assert set(packaged.files) == {"data/vocab.txt", "words.txt"}
    assert any("big.bin is not packaged" in warning for warning in packaged.warnings)
    verify(packaged, ["f"])
    write_zoo(packaged, tmp_path / "zoo", "model")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "words.txt").write_text("other")
    offer = (
        "from elasticdl_nb.runtime.storage import workfolder as w; from pathlib import Path; w.offer(Path('../work'))"
    )

    def said(*lines: str) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-c", "\n".join([*lines, "import model", "print(model.f()[:3])"])],
            cwd=tmp_path / "elsewhere", env={**os.environ, "PYTHONPATH": str(tmp_path / "zoo")}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        return done.stdout, done.stderr

    assert said(offer)[0] == "('a b', True, 'w')\n"
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == ["words.txt"]
    shown, errors = said()  # not a process of a job
    assert not shown and "the model reads data/vocab.txt in the working directory, which does not have it" in errors
    (tmp_path / "elsewhere" / "data").mkdir()
    (tmp_path / "elsewhere" / "data" / "vocab.txt").write_text("a b")
    shown, errors = said(offer)
    assert shown == "('a b', True, 'other')\n" and "words.txt is not the words.txt that was packaged" in errors


@pytest.mark.parametrize("name", ["requirements.txt", "state/x.json"])
def test_files_with_the_name_of_a_part_of_the_package_are_refused(
    notebook: Notebook, tmp_path: Path, name: str
) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text("{}")
    notebook.run(f"def f(): return open({name!r}).read()")
    with pytest.raises(CaptureError, match=f"{name}, which the code names, has the same name as a part of the package"):
        write_zoo(notebook.capture("f"), tmp_path / "zoo")


def test_hidden_files_stay_behind_with_a_warning(notebook: Notebook) -> None:
    Path(".cache").mkdir()
    Path(".cache/vocab.txt").write_text("a")
    notebook.run("def f(): return open('.cache/vocab.txt').read()")
    packaged = notebook.capture("f")
    assert not packaged.files and ".cache/vocab.txt is hidden: it is not packaged" in packaged.warnings


def test_credentials_in_a_file_that_code_names_are_refused(notebook: Notebook) -> None:
    Path("keys.json").write_text('{"api_key": "abc123def456"}\n')
    notebook.run("def f(): return open('keys.json').read()")
    with pytest.raises(CaptureError, match=r"keys\.json, line 1, contains what looks like a credential \(api_key\)"):
        notebook.capture("f")
