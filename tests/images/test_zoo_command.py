from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import pytest

from elasticdl_nb import images
from elasticdl_nb.cli import main
from elasticdl_nb.images.framework import this_framework
from elasticdl_nb.runtime.errors import ImageError, OptionError
from elasticdl_nb.runtime.spec import JobSpec


def test_a_new_zoo_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert main(["zoo", "init", str(tmp_path / "zoo")]) == 0
    assert {path.name for path in (tmp_path / "zoo").iterdir()} == {
        "my_model.py", "requirements.txt", "README.md", ".dockerignore",
    }  # fmt: skip
    with open(tmp_path / "train.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["x1", "x2", "target"])
        rows.writerows([index / 100, index % 7, 2 * index / 100 + index % 7] for index in range(200))
    options = [f"--model_zoo={tmp_path / 'zoo'}", "--model_def=my_model.MyModel", f"--data={tmp_path / 'train.csv'}"]
    code = main(["train", *options, f"--output={tmp_path / 'trained'}", "--no_saved_model", "--quiet"])
    assert code == 0, capfd.readouterr().err


def test_init_leaves_what_is_there_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "requirements.txt").write_text("mine\n")
    assert main(["zoo", "init", str(tmp_path)]) == 2
    assert "already exists" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["requirements.txt"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["biuld"], "Did you mean 'build'?"),
        (["build", "--image=No Name"], "--image: 'No Name' is not the name of an image"),
        (["build", "--docker_base_image=A:B"], "--docker_base_image:"),
        (["build", "--push"], "--push requires --image"),
        (["build", "/nowhere/at/all"], "does not exist"),
        (["push"], "IMAGE"),
    ],
)
def test_mistakes_are_said_at_once(arguments: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", *arguments]) == 2
    assert said in capfd.readouterr().err


def test_without_an_engine_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(ImageError, match=r"no Docker engine answers at tcp://127\.0\.0\.1:1\. Start.*image_name"):
        images.push_image("127.0.0.1:5000/zoo")


def test_a_ready_image_is_taken_as_it_is(tmp_path: Path) -> None:
    spec = JobSpec.create("train", model_def="m", data="d", platform="kubernetes", image_name="example.com/zoo:1")
    assert images.image_for(spec, tmp_path) == "example.com/zoo:1"
    pullable = f"docker-pullable://example.com/zoo@sha256:{'1' * 64}"
    assert images.image_for(spec.replace(image_name=pullable), tmp_path) == pullable.removeprefix("docker-pullable://")
    with pytest.raises(OptionError, match="image_name"):
        images.image_for(spec.replace(image_name="Zoo Zoo"), tmp_path)


def test_the_framework_is_a_wheel_of_this_source_made_once() -> None:
    framework = this_framework()
    assert framework.wheel is not None
    made = framework.wheel.stat().st_mtime_ns
    assert this_framework().wheel == framework.wheel
    assert framework.wheel.stat().st_mtime_ns == made
    with zipfile.ZipFile(framework.wheel) as wheel:
        names = wheel.namelist()
    for needed in (
        "elasticdl_nb/runtime/spec/jobspec.py",
        "elasticdl_nb/skeleton/dockerignore",
        "elasticdl/__init__.py",
    ):
        assert needed in names
    assert not [name for name in names if name.startswith(("tests", "build", "benchmarks"))]


def test_pods_get_tensorflow_and_what_clusters_need_and_no_tools_of_developers() -> None:
    names = " ".join(this_framework().requirements)
    assert "tensorflow-cpu>=" in names and "kubernetes<" in names and "cryptography>=" in names
    assert not any(name in names for name in ("pytest", "ruff", "jupyterlab", "duckdb", "extra", "elasticdl"))
