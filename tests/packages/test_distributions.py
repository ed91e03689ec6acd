"""The wheel and the source distribution hold everything: the quickstart runs where there is no repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
uv = shutil.which("uv", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
pytestmark = [pytest.mark.skipif(uv is None, reason="uv, which builds distributions, is not installed")]


def run(*command: object, cwd: Path) -> str:
    environment = {**os.environ, "ELASTICDL_HOME": str(cwd / "home"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.timeout(600)
def test_both_are_whole_and_the_wheel_runs_the_quickstart(tmp_path: Path) -> None:
    made, backend = tmp_path / "dist", tmp_path / "backend"
    wanted = subprocess.run([str(uv), "pip", "install", "--quiet", "--target", backend, "setuptools>=77"], check=False)
    if wanted.returncode:
        pytest.skip("no package index gives uv the setuptools that builds need")
    run(uv, "build", "--quiet", "--out-dir", made, ROOT, cwd=tmp_path)  # the wheel is made from the source distribution
    (source,), (wheel,) = made.glob("*.tar.gz"), made.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packaged = archive.namelist()
    with tarfile.open(source) as archive:
        assert any(name.endswith("/LICENSE") for name in archive.getnames())
    tracked = run("git", "ls-files", "elasticdl_nb", "magics", "widgets", "runtime", "model_zoo", cwd=ROOT).split()
    of_python = [[name for name in names if name.endswith(".py")] for names in (packaged, tracked)]
    assert len(of_python[0]) == len(of_python[1])
    others = [name for name in tracked if not name.endswith((".py", ".proto"))]
    assert not [name for name in others if f"elasticdl_nb/{name.removeprefix('elasticdl_nb/')}" not in packaged]
    assert not [name for name in packaged if name.startswith(("tests/", "benchmarks/"))]

    place = tmp_path / "elsewhere"
    place.mkdir()
    run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=place)
    python = place / "venv" / "bin" / "python"
    # What it depends on comes from here; a .pth file in a folder that a .pth file names is not followed.
    packages = next((place / "venv").glob("lib/python*/site-packages"))
    (packages / "base.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    run(uv, "pip", "install", "--quiet", "--python", python, "--no-deps", wheel, cwd=place)
    where = run(python, "-c", "import elasticdl_nb; print(elasticdl_nb.__file__)", cwd=place)
    assert where.startswith(str(packages))
    notebook = ROOT / "notebooks" / "quickstart.ipynb"
    run(python, "-m", "papermill", notebook, "out.ipynb", "-p", "num_epochs", 1, "--no-progress-bar", cwd=place)
    assert (place / "out.ipynb").exists()
