"""Images made by a real Docker engine and pushed to a real registry; small ones, without TensorFlow."""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from elasticdl_nb import images
from elasticdl_nb.cli import main
from elasticdl_nb.images import ImageStatus
from elasticdl_nb.images.framework import Framework, this_framework
from elasticdl_nb.runtime.errors import ImageError, OptionError

pytestmark = pytest.mark.needs("docker")
SECRET = "hunter2hunter2"


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def run(image: str, *command: str) -> str:
    return docker("run", "--rm", "--network=none", image, *command)


def layers(image: str) -> list[str]:
    return json.loads(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", image))


@pytest.fixture(scope="module")
def small() -> Framework:
    """This framework without what it depends on."""
    whole = this_framework()
    return Framework((), whole.wheel, whole.version)


@pytest.fixture(scope="module")
def repository(registry: str) -> Iterator[str]:
    name = f"{registry}/tests-{uuid.uuid4().hex[:8]}/zoo"
    yield name
    made = docker("images", "--quiet", "--filter", f"reference={name}").split()
    if made:
        docker("rmi", "--force", *set(made))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    files = {
        "fintech/model.py": "rate = 1\n",
        "requirements.txt": "pip>=20\n",
        "train.csv": "1,2\n",
        ".dockerignore": "*.csv\n",
        ".env": f"TOKEN={SECRET}\n",
        ".git/config": f"url = https://me:{SECRET}@example.com/zoo\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def built(zoo: Path, python_image: str, small: Framework, repository: str) -> tuple[str, list[ImageStatus]]:
    said: list[ImageStatus] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_EXTRA_INDEX_URL", f"https://me:{SECRET}@127.0.0.1:1/simple")
        image = images.build_image(zoo, base=python_image, repository=repository, framework=small, progress=said.append)
    return image, said


def test_the_image_holds_zoo_and_framework(built: tuple[str, list[ImageStatus]]) -> None:
    files = run(built[0], "find", "/model_zoo", "-type", "f").split()
    assert sorted(files) == ["/model_zoo/fintech/model.py", "/model_zoo/requirements.txt"]
    version = run(built[0], "python", "-c", "import elasticdl_nb; print(elasticdl_nb.__version__)")
    assert version == this_framework().version


def test_nobody_in_it_is_root_and_home_can_be_written(built: tuple[str, list[ImageStatus]]) -> None:
    assert run(built[0], "sh", "-c", "touch ~/file && id -u && whoami").split() == ["10001", "elasticdl"]


def test_no_credential_is_in_image_history_or_progress(built: tuple[str, list[ImageStatus]], tmp_path: Path) -> None:
    image, said = built
    seen = docker("history", "--no-trunc", image) + docker("image", "inspect", image) + repr(said)
    assert SECRET not in seen
    search = ["grep", "-rlF", SECRET, "/model_zoo", "/opt", "/home", "/root", "/etc"]
    assert subprocess.run(["docker", "run", "--rm", "--user=0", image, *search]).returncode == 1


def test_a_changed_model_rebuilds_and_pushes_the_last_layer_only(
    built: tuple[str, list[ImageStatus]], zoo: Path, python_image: str, small: Framework, repository: str
) -> None:
    first = images.push_image(built[0])
    (zoo / "fintech/model.py").write_text("rate = 2\n")
    said: list[ImageStatus] = []
    image = images.build_image(zoo, base=python_image, repository=repository, framework=small, progress=said.append)
    second = images.push_image(image, said.append)
    assert image != built[0] and first != second
    assert layers(image)[:-1] == layers(built[0])[:-1]
    assert layers(image)[-1] != layers(built[0])[-1]
    assert not [status.line for status in said if status.phase == "build" and status.line]
    assert max(status.total for status in said if status.phase == "push") < 1_000_000
    assert (said[-1].phase, said[-1].image) == ("done", second)


def test_what_is_pushed_can_be_pulled_by_its_digest(built: tuple[str, list[ImageStatus]], registry: str) -> None:
    pushed = images.push_image(built[0])
    path, _, digest = pushed.removeprefix(f"{registry}/").partition("@")
    accepted = "application/vnd.docker.distribution.manifest.v2+json"
    request = urllib.request.Request(f"http://{registry}/v2/{path}/manifests/{digest}", headers={"Accept": accepted})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as reply:
        assert reply.headers["Docker-Content-Digest"] == digest


def test_the_same_zoo_makes_the_same_image(
    built: tuple[str, list[ImageStatus]], zoo: Path, python_image: str, small: Framework, repository: str
) -> None:
    names = {images.build_image(zoo, base=python_image, repository=repository, framework=small) for _ in range(2)}
    assert len(names) == 1


def test_a_failing_requirement_is_shown_with_what_pip_said(
    tmp_path: Path, python_image: str, small: Framework, repository: str
) -> None:
    (tmp_path / "requirements.txt").write_text("-r missing.txt\n")
    with pytest.raises(ImageError, match=r"'requirements\.txt' failed(.|\n)*missing\.txt"):
        images.build_image(tmp_path, base=python_image, repository=repository, framework=small)


def test_a_base_image_that_cannot_be_had_is_named(tmp_path: Path, registry: str, small: Framework) -> None:
    with pytest.raises(OptionError, match=rf"docker_base_image: {registry}/nothing:1 is not available"):
        images.build_image(tmp_path, base=f"{registry}/nothing:1", framework=small)


def test_a_registry_that_wants_a_login_says_so(built: tuple[str, list[ImageStatus]]) -> None:
    class Closed(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="tests"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_POST = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Closed) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        name = f"127.0.0.1:{server.server_port}/zoo:1"
        try:
            docker("tag", built[0], name)
            with pytest.raises(ImageError, match="docker login 127"):
                images.push_image(name)
        finally:
            docker("rmi", name)
            server.shutdown()
            thread.join()


def test_an_image_that_is_not_there_is_not_pushed(registry: str) -> None:
    with pytest.raises(ImageError, match=f"no image {registry}/nothing-here:1"):
        images.push_image(f"{registry}/nothing-here:1")


def test_a_registry_that_does_not_answer_is_named(python_image: str) -> None:
    docker("tag", python_image, "127.0.0.1:1/zoo:1")
    try:
        with pytest.raises(ImageError, match=r"the registry 127\.0\.0\.1:1 is unreachable"):
            images.push_image("127.0.0.1:1/zoo:1")
    finally:
        docker("rmi", "127.0.0.1:1/zoo:1")


def test_a_zoo_in_git_becomes_an_image_from_the_command_line(
    zoo: Path, framework_image: str, repository: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    clone = tmp_path / "repository"
    (clone / "regressor").mkdir(parents=True)
    (clone / "regressor/dnn.py").write_text("import keras\n")
    git = ["git", "-C", clone, "-c", "user.name=t", "-c", "user.email=t@example.com"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "zoo"]):
        subprocess.run([*git, *command], check=True)
    options = [f"--image={repository}:git", f"--docker_base_image={framework_image}", "--json"]
    assert main(["zoo", "build", f"file://{clone}", *options]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out.splitlines()[-1])["image"] == f"{repository}:git"
    assert "Image built in" in err
    said = run(f"{repository}:git", "sh", "-c", "find /model_zoo -type f && elasticdl --version").splitlines()
    assert said == ["/model_zoo/regressor/dnn.py", f"elasticdl_nb {this_framework().version}"]
