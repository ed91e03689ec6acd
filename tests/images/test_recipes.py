from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from elasticdl_nb.capture.captured import Captured, StateFiles, write_zoo
from elasticdl_nb.images.context import files_of_zoo, requirements_of_zoo, write_context
from elasticdl_nb.images.install import for_tensorflow
from elasticdl_nb.images.names import check_name, host_of, image_of, split_name
from elasticdl_nb.images.recipe import Recipe
from elasticdl_nb.images.secrets import has_credentials, index_settings, scrub
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.model.saving.zoofiles import copy_zoo

SECRET = "hunter2hunter2"


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    files = {
        "model.py": "x = 1\n",
        "requirements.txt": "six\n",
        "data/train.csv": "1,2\n",
        "data/keep.csv": "1,2\n",
        ".dockerignore": "# comment\n\n**/*.csv\n!data/keep.csv\n",
        ".env": f"TOKEN={SECRET}\n",
        ".git/config": f"url = https://me:{SECRET}@example.com/zoo\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def context(recipe: Recipe, zoo: Path) -> tuple[bytes, dict[str, bytes]]:
    target = io.BytesIO()
    files = files_of_zoo(zoo)
    write_context(target, recipe, files, requirements_of_zoo(files), {"install.py": b"", "framework.txt": b""})
    with tarfile.open(fileobj=io.BytesIO(target.getvalue())) as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
        return target.getvalue(), {member.name: archive.extractfile(member).read() for member in members}


def test_what_changes_rarely_comes_first_and_the_zoo_last() -> None:
    steps = Recipe("python:3.11", "elasticdl_nb-1-py3-none-any.whl", ("requirements.txt",)).steps()
    titles = list(dict.fromkeys(step.title for step in steps if step.title not in ("user and folders", "settings")))
    assert titles == [
        "base image python:3.11", "framework's dependencies", "framework", "requirements.txt", "model zoo",
    ]  # fmt: skip
    assert steps[-1].instruction == "COPY zoo /model_zoo"


def test_the_user_is_not_root() -> None:
    lines = Recipe("python:3.11", "elasticdl_nb==1").dockerfile().splitlines()
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER 10001:10001"


def test_without_requirements_there_is_no_step_for_them() -> None:
    assert "requirements/" not in Recipe("python:3.11", "elasticdl_nb==1").dockerfile()


def test_dockerignore_is_kept_and_hidden_files_stay_behind(zoo: Path) -> None:
    archive, files = context(Recipe("b", "elasticdl_nb==1"), zoo)
    assert {name for name in files if name.startswith("zoo/")} == {
        "zoo/model.py", "zoo/requirements.txt", "zoo/data/keep.csv",
    }  # fmt: skip
    assert SECRET.encode() not in archive


def test_a_packaged_notebook_takes_its_state_and_data_files_along(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("a b")
    state = StateFiles()
    state.write("W.npy", lambda file: file.write(b"values"))
    packaged = Captured(
        "x = 1\n", ["six"], {"pkg/part.py": "y = 2\n"}, [], [1], state,
        files={"data/words.txt": str(tmp_path / "words.txt")},
    )  # fmt: skip
    write_zoo(packaged, tmp_path / "captured", "model")
    copy_zoo(tmp_path / "captured", tmp_path / "zoo")  # as a job and a trained model do
    (tmp_path / "zoo" / ".dockerignore").write_text("**/*.npy\ndata\n*.md\n")
    _, files = context(Recipe("b", "elasticdl_nb==1"), tmp_path / "zoo")
    assert files["zoo/state/W.npy"] == b"values"
    assert {"zoo/model.py", "zoo/pkg/part.py", "zoo/requirements.txt", "requirements/requirements.txt"} <= files.keys()
    assert "zoo/data/words.txt" not in files  # which the user asked for
    (tmp_path / "zoo" / ".dockerignore").unlink()
    assert context(Recipe("b", "elasticdl_nb==1"), tmp_path / "zoo")[1]["zoo/data/words.txt"] == b"a b"


def test_the_same_zoo_makes_the_same_context_wherever_and_whenever_it_was_written(zoo: Path, tmp_path: Path) -> None:
    before, _ = context(Recipe("b", "elasticdl_nb==1"), zoo)
    (zoo / "model.py").chmod(0o777)
    (zoo / "model.py").touch()
    assert context(Recipe("b", "elasticdl_nb==1"), zoo)[0] == before


@pytest.mark.parametrize(
    "line",
    [
        f"--index-url https://me:{SECRET}@example.com/simple",
        f"package @ git+https://{SECRET}@example.com/zoo.git",
        f"--extra-index-url=http://{SECRET}:@example.com/simple",
    ],
)
def test_a_credential_in_requirements_is_refused_without_being_repeated(zoo: Path, line: str) -> None:
    (zoo / "requirements.txt").write_text(f"six\n{line}\n")
    with pytest.raises(OptionError, match=r"line 2 of requirements\.txt") as caught:
        requirements_of_zoo(files_of_zoo(zoo))
    assert SECRET not in str(caught.value)


def test_requirements_may_name_others() -> None:
    assert not has_credentials("package @ git+ssh://git@example.com/zoo.git")
    assert not has_credentials("--index-url https://${USER}:${TOKEN}@example.com/simple")
    assert not has_credentials("six  # mail me@example.com")


def test_all_requirements_files_are_there_for_pip(zoo: Path) -> None:
    (zoo / "constraints-linux.txt").write_text("six<2\n")
    (zoo / "notes.txt").write_text("no requirements\n")
    assert set(requirements_of_zoo(files_of_zoo(zoo))) == {"requirements.txt", "constraints-linux.txt"}


def test_index_settings_with_credentials_stay_out_of_images() -> None:
    given = {"PIP_INDEX_URL": "https://example.com/simple", "PIP_EXTRA_INDEX_URL": f"https://a:{SECRET}@example.com/"}
    assert index_settings(given) == (("PIP_INDEX_URL", "https://example.com/simple"),)


def test_credentials_are_scrubbed_from_what_is_shown() -> None:
    said = f"Looking in indexes: https://me:{SECRET}@example.com/simple, https://example.org/simple"
    assert scrub(said) == "Looking in indexes: https://***@example.com/simple, https://example.org/simple"


def test_a_zoo_uses_the_tensorflow_that_is_there() -> None:
    text = "# c\ntensorflow>=2.21\ntensorflow-cpu[x]>=2 ; python_version > '3'\ntensorflow-datasets\nTensorFlow\nkeras"
    expected = "# c\ntensorflow-cpu>=2.21\ntensorflow-cpu>=2\ntensorflow-datasets\ntensorflow-cpu\nkeras"
    assert for_tensorflow(text, "tensorflow-cpu") == expected


@pytest.mark.parametrize(
    ("name", "parts", "host"),
    [
        ("zoo", ("zoo", "latest"), "docker.io"),
        ("me/zoo:1", ("me/zoo", "1"), "docker.io"),
        ("127.0.0.1:5000/me/zoo", ("127.0.0.1:5000/me/zoo", "latest"), "127.0.0.1:5000"),
        ("localhost/zoo:a.b-c", ("localhost/zoo", "a.b-c"), "localhost"),
    ],
)
def test_names_come_apart(name: str, parts: tuple[str, str], host: str) -> None:
    assert check_name("image_name", name) == name
    assert split_name(name) == parts
    assert host_of(name) == host


@pytest.mark.parametrize("name", ["Zoo", "a b", "https://example.com/zoo", "zoo:", "/zoo", "zoo;rm -rf", "zoo\nRUN x"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match="image_name"):
        check_name("image_name", name)


def test_a_commit_id_names_its_image() -> None:
    digest = f"example.com/zoo@sha256:{'0' * 64}"
    assert image_of(f"docker-pullable://{digest}") == digest == check_name("image_name", digest)
