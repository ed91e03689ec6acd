"""Fetching a Git repository that nobody here has vouched for: its URL, and how `git` is started for it.

Nothing that the URL, the ref or the repository says can become an option of git, choose a program to run, or reach
another protocol: see `_git` and `_environment`. What is checked out is what was committed: no hooks, no filters
(Git LFS is one), no submodules.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.protocol.network import is_loopback

_URL = re.compile(r"(?:git\+)?(?P<scheme>[a-z][a-z0-9.-]*)://(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_SCP = re.compile(r"(?P<host>[\w.-]+@[\w.-]+):(?P<path>(?!//).+)")
# git's own form for "run the program git-remote-NAME", as in ext::COMMAND.
_HELPER = re.compile(r"[a-z][a-z0-9+.-]*::", re.IGNORECASE)
_PROTECTED = ("https", "ssh", "file")
_UNPROTECTED = ("http", "git")
_ALLOWED = "https://, ssh:// and file:// URLs and user@host:path can be fetched"

# What git forbids in the name of a branch or tag, and what has a meaning in a refspec.
_NO_REF = re.compile(r"^[-+]|[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{")

# For every command; the user's own configuration (credential helpers, proxies, certificates) stays in force.
_SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    # A server that says nothing for a minute is given up.
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "60",
}
# These would have git work elsewhere, or tell of credentials.
_NOT_PASSED_ON = re.compile(
    r"GIT_(DIR|WORK_TREE|INDEX_FILE|OBJECT_DIRECTORY|ALTERNATE_OBJECT_DIRECTORIES|COMMON_DIR|NAMESPACE|PREFIX"
    r"|TEMPLATE_DIR|CURL_VERBOSE|TRACE\w*)"
)
# The strongest place for attributes: it overrules the .gitattributes of the repository.
_ATTRIBUTES = "* -filter -ident -text\n"
_LFS_POINTER = b"version https://git-lfs.github.com/"


@dataclass(frozen=True)
class GitAddress:
    """A repository's URL apart from its credentials and the branch, tag or commit that was asked for."""

    url: str
    ref: str
    # "user:password@", as given; empty without.
    credentials: str

    @property
    def shown(self) -> str:
        """The address as people may see it."""
        return f"{self.url}@{self.ref}" if self.ref else self.url


def parse_git_url(text: str) -> GitAddress | None:
    """Take a Git URL apart; None if `text` is no URL but a path.

    Raises OptionError("model_zoo", …) for a URL that may not be fetched; the message has no credentials.
    """
    if helper := _HELPER.match(text):
        raise OptionError("model_zoo", f"a URL that begins with {helper[0]} would run a program; {_ALLOWED}")
    if match := _URL.fullmatch(text):
        return _parse_url(match["scheme"].lower(), match["rest"])
    match = _SCP.fullmatch(text)
    if match and not os.path.exists(text):
        path, _, ref = match["path"].partition("@")
        return _checked(GitAddress(f"{match['host']}:{path}", ref, ""), match["host"])
    return None


def _parse_url(scheme: str, rest: str) -> GitAddress:
    if scheme not in _PROTECTED + _UNPROTECTED:
        raise OptionError("model_zoo", f"a model zoo cannot be fetched by {scheme}://; {_ALLOWED}")
    host, slash, path = rest.partition("/")
    credentials, at, host = host.rpartition("@")
    if scheme in _UNPROTECTED and not is_loopback(re.sub(r":\d*$", "", host)):
        raise OptionError(
            "model_zoo",
            f"{scheme}://{host}/… is not protected on its way, and others could change the code; use https:// or "
            "ssh://, or clone it yourself and name the folder",
        )
    ref = ""
    if not (scheme == "file" and os.path.exists(f"/{path}")):
        path, _, ref = path.partition("@")
    # The user of an ssh URL is no secret, and git needs it.
    user = f"{credentials.partition(':')[0]}@" if at and scheme == "ssh" else ""
    secret = at and (":" in credentials or not user)
    address = GitAddress(f"{scheme}://{user}{host}{slash}{path}", ref, f"{credentials}@" if secret else "")
    return _checked(address, f"{user}{host}")


def _checked(address: GitAddress, host: str) -> GitAddress:
    if any(part.startswith("-") for part in host.split("@")) or re.search(r"[\x00-\x1f\x7f]", address.url):
        raise OptionError("model_zoo", f"{address.url!r} is not the URL of a Git repository")
    if _NO_REF.search(address.ref):
        raise OptionError(
            "model_zoo", f"{address.ref!r} cannot be the name of a branch, tag or commit (URL@NAME) of {address.url}"
        )
    return address


def check_out(address: GitAddress, folder: Path) -> tuple[str, tuple[str, ...]]:
    """Check a repository out into an empty folder; return the commit, and notes on what is not there.

    Raises OptionError("model_zoo", …) if it cannot be fetched.
    """
    _git(folder, address, "init", "--quiet", "--template=")
    attributes = folder / ".git" / "info" / "attributes"
    attributes.parent.mkdir(parents=True, exist_ok=True)
    attributes.write_text(_ATTRIBUTES)
    # Fetching by URL, rather than cloning, takes commits as well as branches and tags.
    fetch = ("fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--end-of-options")
    _git(folder, address, *fetch, address.url, address.ref or "HEAD")
    _git(folder, address, "checkout", "--quiet", "--no-recurse-submodules", "FETCH_HEAD")
    return _git(folder, address, "rev-parse", "HEAD").strip(), tuple(_left_behind(folder))


def _left_behind(folder: Path) -> list[str]:
    notes = ["the submodules of the repository are not part of the zoo"] if (folder / ".gitmodules").is_file() else []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or ".git" in path.relative_to(folder).parts[:1]:
            continue
        with path.open("rb") as file:
            if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
                notes.append(f"{path.relative_to(folder)} is kept in Git LFS, and only its pointer is in the zoo")
    return notes


def _git(folder: Path, address: GitAddress, *arguments: str) -> str:
    settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
    try:
        done = subprocess.run(
            ["git", *settings, *arguments],
            cwd=folder,
            env=_environment(address),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
    except FileNotFoundError:
        raise OptionError("model_zoo", f"{address.shown} needs git, which is not installed") from None
    if done.returncode:
        said = " ".join(line.strip() for line in _scrub(done.stderr, address).splitlines() if line.strip())
        raise OptionError("model_zoo", f"{address.shown} cannot be fetched. git says: {said}")
    return done.stdout


def _environment(address: GitAddress) -> dict[str, str]:
    scheme, is_url, rest = address.url.partition("://")
    own = scheme if is_url else "ssh"
    environment = {name: value for name, value in os.environ.items() if not _NOT_PASSED_ON.fullmatch(name)}
    environment |= {
        # Overrules every protocol.*.allow. A user's own url.*.insteadOf may turn https into ssh and back.
        "GIT_ALLOW_PROTOCOL": "file" if own == "file" else ":".join(sorted({own, "https", "ssh"})),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"),
        "GIT_LFS_SKIP_SMUDGE": "1",
        "LC_ALL": "C",
    }
    if address.credentials:
        host, slash, _ = rest.rpartition("@")[2].partition("/")
        count = int(os.environ.get("GIT_CONFIG_COUNT", "0"))
        environment["GIT_CONFIG_COUNT"] = str(count + 1)
        environment[f"GIT_CONFIG_KEY_{count}"] = f"url.{scheme}://{address.credentials}{host}{slash}.insteadOf"
        environment[f"GIT_CONFIG_VALUE_{count}"] = f"{scheme}://{rest.partition('/')[0]}{slash}"
    return environment


def _scrub(text: str, address: GitAddress) -> str:
    """Git's message without credentials, however it spells them."""
    if not address.credentials:
        return text
    user, _, password = address.credentials.rstrip("@").partition(":")
    secrets = {address.credentials, password, unquote(password), *((user, unquote(user)) if not password else ())}
    for secret in sorted((item for item in secrets if item), key=len, reverse=True):
        text = text.replace(secret, "" if secret == address.credentials else "***")
    return text
