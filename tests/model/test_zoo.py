"""Model zoos come from directories and Git, and say what they need."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from elasticdl_nb.given.gitzoo import parse_git_url
from elasticdl_nb.given.zoosource import fetch_zoo, without_credentials
from elasticdl_nb.images.context import files_of_zoo
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.model.reading.modelcheck import built_in_zoo, check_requirements
from elasticdl_nb.runtime.model.saving import zoofiles


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_directory_is_copied_without_what_is_no_code(write: Any, tmp_path: Path) -> None:
    for name in ("z/a.py", "z/data/small.csv", "z/requirements.txt", "z/.git/config", "z/__pycache__/a.pyc", "z/.env",
                 "z/env/pyvenv.cfg", "z/env/lib/b.py", "z/.ipynb_checkpoints/a.py"):  # fmt: skip
        write(name, "")
    os.symlink(tmp_path / "z", tmp_path / "z" / "loop")
    os.symlink("/etc", tmp_path / "z" / ".hidden")
    source = fetch_zoo(str(tmp_path / "z"), tmp_path / "copy")
    assert names(source.path) == {"a.py", "data/small.csv", "requirements.txt"}
    assert source.digest == zoofiles.zoo_digest(tmp_path / "z")


def test_the_digest_is_of_names_and_contents(write: Any, tmp_path: Path) -> None:
    digests = set()
    for name, text in (("a.py", "1"), ("b.py", "1"), ("a.py", "2")):
        (tmp_path / "z").mkdir(exist_ok=True)
        for old in (tmp_path / "z").iterdir():
            old.unlink()
        write(f"z/{name}", text)
        digests.add(zoofiles.zoo_digest(tmp_path / "z"))
    assert len(digests) == 3


def test_large_files_are_left_out_and_large_folders_refused(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("z/a.py", "x = 1")
    with open(write("z/big.bin", ""), "wb") as file:
        file.truncate(zoofiles.LARGEST_FILE + 1)
    source = fetch_zoo(str(tmp_path / "z"), tmp_path / "copy")
    assert names(source.path) == {"a.py"}
    assert "big.bin (50 MB)" in source.notes[0]
    monkeypatch.setattr(zoofiles, "MOST_FILES", 3)
    for number in range(5):
        write(f"z/many/{number}.py", "")
    with pytest.raises(OptionError, match="more than 3 files"):
        fetch_zoo(str(tmp_path / "z"), tmp_path / "copy2")


def test_the_built_in_zoo_needs_no_name(tmp_path: Path) -> None:
    source = fetch_zoo("", tmp_path / "copy")
    assert "regressor/wide_and_deep.py" in names(source.path)
    check_requirements(str(source.path))


@pytest.mark.parametrize("link", ["file.txt", "folder", "deep/er"])
def test_a_link_that_leaves_the_zoo_is_refused_by_name(write: Any, tmp_path: Path, link: str) -> None:
    write("secret/key", "x")
    write("z/a.py", "")
    write("z/deep/b.py", "")
    os.symlink(tmp_path / ("secret/key" if link == "file.txt" else "secret"), tmp_path / "z" / link)
    with pytest.raises(OptionError, match=f"model_zoo: {link} in .* leads to .*/secret.*, outside of the model zoo"):
        fetch_zoo(str(tmp_path / "z"), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    with pytest.raises(OptionError, match=link):
        files_of_zoo(tmp_path / "z")


def test_a_link_within_the_zoo_is_followed(write: Any, tmp_path: Path) -> None:
    write("z/a.py", "x = 1")
    os.symlink(tmp_path / "z" / "a.py", tmp_path / "z" / "b.py")
    os.symlink(tmp_path / "z", tmp_path / "other-name")
    source = fetch_zoo(str(tmp_path / "other-name"), tmp_path / "copy")
    assert names(source.path) == {"a.py", "b.py"}


@pytest.mark.parametrize("name", ["absent", "file.py"])
def test_what_is_no_directory_is_refused(write: Any, tmp_path: Path, name: str) -> None:
    write("file.py", "")
    with pytest.raises(OptionError, match=f"model_zoo: .*{name}"):
        fetch_zoo(str(tmp_path / name), tmp_path / "copy")


# ------------------------------------------------------------------ Git


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(write: Any, tmp_path: Path) -> Path:
    write("repo/m.py", "VERSION = 1\n")
    root = tmp_path / "repo"
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "one")
    git(root, "tag", "v1")
    write("repo/m.py", "VERSION = 2\n")
    git(root, "commit", "-qam", "two")
    return root


def test_git_repositories_are_fetched_at_branches_tags_and_commits(repository: Path, tmp_path: Path) -> None:
    commit = git(repository, "rev-parse", "v1")
    for number, (ref, version) in enumerate([("", 2), ("@main", 2), ("@v1", 1), (f"@{commit}", 1)]):
        source = fetch_zoo(f"file://{repository}{ref}", tmp_path / f"copy{number}")
        assert (source.path / "m.py").read_text() == f"VERSION = {version}\n"
        assert names(source.path) == {"m.py"}
        assert (source.commit == commit) == (version == 1)


def test_git_s_own_message_is_passed_on(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"file://.*@v9 cannot be fetched. git says: .*v9"):
        fetch_zoo(f"file://{repository}@v9", tmp_path / "copy")


def test_credentials_are_in_no_message(tmp_path: Path) -> None:
    url = "https://wim:geheim%21@localhost:1/models"
    with pytest.raises(OptionError) as caught:
        fetch_zoo(url, tmp_path / "copy")
    assert "https://localhost:1/models" in str(caught.value)
    for secret in ("wim", "geheim"):
        assert secret not in str(caught.value)
    assert without_credentials(f"{url}@v1") == "https://localhost:1/models@v1"


@pytest.mark.parametrize(
    ("text", "url", "ref", "credentials"),
    [
        ("https://h/a/b", "https://h/a/b", "", ""),
        ("https://h/a/b@v1", "https://h/a/b", "v1", ""),
        ("https://u:p@h/a/b@x/y", "https://h/a/b", "x/y", "u:p@"),
        ("https://token@h/a", "https://h/a", "", "token@"),
        ("git+https://h/a@v1", "https://h/a", "v1", ""),
        ("ssh://git@h:22/a@v1", "ssh://git@h:22/a", "v1", ""),
        ("git@h:a/b.git@v1", "git@h:a/b.git", "v1", ""),
        ("git@h:a/b.git", "git@h:a/b.git", "", ""),
    ],
)
def test_urls_are_taken_apart(text: str, url: str, ref: str, credentials: str) -> None:
    address = parse_git_url(text)
    assert address is not None
    assert (address.url, address.ref, address.credentials) == (url, ref, credentials)


@pytest.mark.parametrize("text", ["/a/b", "a/b", "", "models", "~/x@y"])
def test_paths_are_no_urls(text: str) -> None:
    assert parse_git_url(text) is None


def test_credentials_reach_git_by_no_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/said; env | grep GIT_CONFIG >> {tmp_path}/env; exit 0\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    fetch_zoo("https://u:p@h/a@v1", tmp_path / "copy")
    assert "u:p" not in (tmp_path / "said").read_text()
    assert "url.https://u:p@h/.insteadOf" in (tmp_path / "env").read_text()


@pytest.mark.parametrize("ref", ["--upload-pack=touch {}/x;git-upload-pack", "--upload-pack=touch {}/x", "-h", "+main"])
def test_a_ref_is_never_an_option(repository: Path, tmp_path: Path, ref: str) -> None:
    text = f"file://{repository}@{ref.format(tmp_path)}"
    for call in (without_credentials, lambda text: fetch_zoo(text, tmp_path / "copy")):
        with pytest.raises(OptionError, match="cannot be the name of a branch, tag or commit"):
            call(text)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("ref", ["a:b", "a..b", "^main", "a b", "@{1}", "a\nb", "refs/*"])
def test_a_ref_is_never_more_than_a_name(ref: str) -> None:
    with pytest.raises(OptionError, match="cannot be the name of a branch"):
        parse_git_url(f"https://h/a@{ref}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ext::sh -c touch% x", "ext:: would run a program"),
        ("EXT::sh", "would run a program"),
        ("ftp://u:geheim@h/a", "cannot be fetched by ftp://"),
        ("http://u:geheim@h.example/a", "is not protected on its way"),
        ("HTTP://u:geheim@h.example:80/a", "is not protected on its way"),
        ("git://h.example/a", "is not protected on its way"),
        ("ssh://-oProxyCommand=touch/a", "is not the URL of a Git repository"),
        ("ssh://-oProxyCommand=touch@h/a", "is not the URL of a Git repository"),
        ("-oProxyCommand@h:a", "is not the URL of a Git repository"),
        ("git@-oProxyCommand:a", "is not the URL of a Git repository"),
        ("https://h/a\nb", "is not the URL of a Git repository"),
    ],
)
def test_what_is_not_fetched_is_refused_before_git_starts(
    text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    with pytest.raises(OptionError, match=problem) as caught:
        fetch_zoo(text, tmp_path / "copy")
    assert "geheim" not in str(caught.value)


def test_an_unprotected_repository_of_this_machine_may_be_fetched() -> None:
    for url in ("http://localhost:8080/a", "http://127.0.0.1/a", "git://[::1]:9418/a"):
        assert parse_git_url(url) is not None


def test_a_repository_runs_nothing(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither hooks nor filters, even if the user's own settings offer them, and no other protocol."""
    run = f"touch {tmp_path}/ran; cat"
    for hooks in ("template/hooks", "hooks"):
        (tmp_path / hooks).mkdir(parents=True)
        (tmp_path / hooks / "post-checkout").write_text(f"#!/bin/sh\n{run} </dev/null\n")
        (tmp_path / hooks / "post-checkout").chmod(0o755)
    settings = tmp_path / "settings"
    settings.write_text(
        f'[core]\n hooksPath = {tmp_path}/hooks\n autocrlf = true\n[protocol "ext"]\n allow = always\n'
        f'[filter "evil"]\n smudge = "{run}"\n clean = cat\n required = true\n'
        f'[url "ext::sh -c touch% {tmp_path}/ran% #"]\n insteadOf = https://ext.example/\n'
    )
    (repository / ".gitattributes").write_text("*.py filter=evil ident\n")
    (repository / "id.py").write_text("# $Id$\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "three")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(tmp_path / "template"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_TRACE", str(tmp_path / "trace"))
    source = fetch_zoo(f"file://{repository}", tmp_path / "copy")
    assert (source.path / "id.py").read_bytes() == b"# $Id$\n"
    with pytest.raises(OptionError, match="transport 'ext' not allowed"):
        fetch_zoo("https://ext.example/a", tmp_path / "copy2")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "trace").exists()


def test_a_repository_s_submodules_and_large_files_are_left_behind_with_a_note(
    repository: Path, tmp_path: Path, write: Any
) -> None:
    git(repository, "-c", "protocol.file.allow=always", "submodule", "add", f"file://{repository}", "sub")
    write("repo/weights.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "three")
    source = fetch_zoo(f"file://{repository}", tmp_path / "copy")
    assert names(source.path) == {"m.py", "weights.bin"}
    assert [word in note for word, note in zip(("submodules", "weights.bin"), source.notes, strict=True)] == [True] * 2


def test_a_link_that_leaves_a_repository_is_refused(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    os.symlink("../secret", repository / "link.py")
    os.symlink("/etc/hostname", repository / "other.py")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "three")
    with pytest.raises(OptionError, match=r"link\.py in .* outside of the model zoo"):
        fetch_zoo(f"file://{repository}", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


# ------------------------------------------------------------------ requirements


def test_included_requirements_stay_in_the_zoo(write: Any, tmp_path: Path) -> None:
    write("secret.txt", "geheim==1\n")
    write("z/requirements.txt", "-r ../secret.txt\n")
    with pytest.raises(OptionError, match=r"its requirements include .*secret.txt, which is outside") as caught:
        check_requirements(str(tmp_path / "z"))
    assert "geheim" not in str(caught.value)


def test_missing_requirements_are_all_named(write: Any, tmp_path: Path) -> None:
    write("requirements.txt", """\
        # what the models need
        numpy>=2
        numpy>=999          # newer than there is
        no-such-package[extra]==1.0 ; python_version >= "3"
        windows-only ; sys_platform == "win32"
        tensorflow>=2
        --index-url https://example.com
        -i https://example.com
        -r more.txt
        ./local
        """)  # fmt: skip
    write("more.txt", "also-missing>=2 \\\n  --hash=sha256:0\n-r requirements.txt\n")
    with pytest.raises(OptionError) as caught:
        check_requirements(str(tmp_path))
    assert caught.value.option == "model_zoo"
    text = str(caught.value)
    for part in ("numpy>=999", "is installed", "no-such-package", "also-missing>=2 (not installed)", "pip install"):
        assert part in text
    for part in ("windows-only", "tensorflow", "numpy>=2 "):
        assert part not in text


def test_satisfied_or_absent_requirements_pass(write: Any, tmp_path: Path) -> None:
    check_requirements(str(tmp_path))
    write("requirements.txt", "NumPy>=2\n")
    check_requirements(str(tmp_path))
    check_requirements(built_in_zoo())


def test_a_line_that_is_no_requirement_is_an_error(write: Any, tmp_path: Path) -> None:
    write("requirements.txt", "numpy>>2\n")
    with pytest.raises(OptionError, match="numpy>>2"):
        check_requirements(str(tmp_path))
