"""Where a job's model code comes from: a directory, a notebook, a Git repository, or the models of this package."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.model.reading.modelcheck import built_in_zoo
from elasticdl_nb.runtime.model.saving.zoofiles import copy_zoo, zoo_digest

_URL = re.compile(r"(?:git\+)?(?P<scheme>https?|ssh|git|file)://(?P<rest>.+)")
_SCP = re.compile(r"(?P<host>[\w.-]+@[\w.-]+):(?P<path>(?!//).+)")


@dataclass(frozen=True)
class ZooSource:
    """A zoo that was fetched.

    `origin` is where it came from, without credentials; `commit` is the Git commit (empty for a directory); `digest`
    is the SHA-256 of its files' names and contents; `notes` mention files that were left out.
    """

    path: Path
    origin: str
    digest: str
    commit: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class GitAddress:
    """A repository's URL, separated from its credentials and the requested branch, tag or commit."""

    url: str
    ref: str
    # "user:password@", as given, or empty.
    credentials: str

    @property
    def shown(self) -> str:
        """The address in a form that is safe to show."""
        return f"{self.url}@{self.ref}" if self.ref else self.url


def fetch_zoo(model_zoo: str, into: Path) -> ZooSource:
    """Copy a model zoo into the folder `into`.

    `model_zoo` is a directory, a notebook file (its functions and classes become a module with its name), a Git URL
    (https, ssh, git, file or user@host:path; `URL@REF` for a branch, tag or commit), or empty for the models that come
    with elasticdl_nb. Hidden files, byte code, virtual environments and files above 50 MB are left out, so a working
    folder with more than models in it does no harm; a folder of more than 500 MB or 20,000 files is refused.
    Raises OptionError("model_zoo", …), and CaptureError for a notebook. Credentials in a URL are passed to git through
    its environment and appear in no message, argument or file.
    """
    address = parse_git_url(model_zoo)
    if address is not None:
        return _clone(address, into)
    source = model_zoo or built_in_zoo()
    if source.endswith(".ipynb") and os.path.isfile(source):
        return _package(source, into)
    if not os.path.isdir(source):
        kind = "is a file, not a directory" if os.path.exists(source) else "does not exist"
        raise OptionError(
            "model_zoo", f"{source} {kind}; expected a directory, a notebook or the URL of a Git repository"
        )
    try:
        copy = copy_zoo(source, into)
    except OSError as error:
        raise OptionError("model_zoo", f"{source} cannot be copied: {error}") from error
    return ZooSource(into, os.path.abspath(source), copy.digest, notes=copy.notes)


def without_credentials(model_zoo: str) -> str:
    """Return a `model_zoo` option in a form that is safe to show and store."""
    address = parse_git_url(model_zoo)
    return model_zoo if address is None else address.shown


def parse_git_url(text: str) -> GitAddress | None:
    """Split a Git URL into its parts; None if `text` is a path and not a URL."""
    match = _URL.fullmatch(text)
    if match:
        host, slash, path = match["rest"].partition("/")
        credentials, at, host = host.rpartition("@")
        ref = ""
        if not (match["scheme"] == "file" and os.path.exists(f"/{path}")):
            path, _, ref = path.partition("@")
        # The user in an ssh URL is not a secret, and git needs it.
        user = f"{credentials.partition(':')[0]}@" if at and match["scheme"] == "ssh" else ""
        secret = at and (":" in credentials or not user)
        return GitAddress(f"{match['scheme']}://{user}{host}{slash}{path}", ref, f"{credentials}@" if secret else "")
    match = _SCP.fullmatch(text)
    if match and not os.path.exists(text):
        path, _, ref = match["path"].partition("@")
        return GitAddress(f"{match['host']}:{path}", ref, "")
    return None


def _package(notebook: str, into: Path) -> ZooSource:
    from elasticdl_nb.capture import capture_notebook, write_zoo

    module = os.path.basename(notebook).removesuffix(".ipynb")
    if not module.isidentifier():
        raise OptionError("model_zoo", f"{notebook}: its name must be that of a module, and {module!r} is not")
    captured = capture_notebook(notebook)
    write_zoo(captured, into, module)
    return ZooSource(into, os.path.abspath(notebook), zoo_digest(into), notes=tuple(captured.warnings))


def _clone(address: GitAddress, into: Path) -> ZooSource:
    with tempfile.TemporaryDirectory(prefix="elasticdl-zoo-") as temporary:
        _git(["init", "--quiet"], temporary, address)
        # Fetching by URL, unlike cloning, works for commits as well as for branches and tags.
        _git(["fetch", "--quiet", "--depth=1", "--no-tags", address.url, address.ref or "HEAD"], temporary, address)
        _git(["checkout", "--quiet", "FETCH_HEAD"], temporary, address)
        commit = _git(["rev-parse", "HEAD"], temporary, address).strip()
        copy = copy_zoo(temporary, into)
    return ZooSource(into, address.shown, copy.digest, commit, copy.notes)


def _git(arguments: list[str], folder: str, address: GitAddress) -> str:
    environment = {
        **os.environ,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"),
        "LC_ALL": "C",
    }
    if address.credentials:
        scheme, _, rest = address.url.partition("://")
        host, slash, _ = rest.rpartition("@")[2].partition("/")
        count = int(os.environ.get("GIT_CONFIG_COUNT", "0"))
        environment["GIT_CONFIG_COUNT"] = str(count + 1)
        environment[f"GIT_CONFIG_KEY_{count}"] = f"url.{scheme}://{address.credentials}{host}{slash}.insteadOf"
        environment[f"GIT_CONFIG_VALUE_{count}"] = f"{scheme}://{rest.partition('/')[0]}{slash}"
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    except FileNotFoundError:
        raise OptionError("model_zoo", f"{address.shown} requires git, which is not installed") from None
    if done.returncode:
        said = " ".join(line.strip() for line in _scrub(done.stderr, address).splitlines() if line.strip())
        raise OptionError("model_zoo", f"{address.shown} cannot be fetched. git says: {said}")
    return done.stdout


def _scrub(text: str, address: GitAddress) -> str:
    """Git's message without credentials, in whatever form it has them."""
    if not address.credentials:
        return text
    user, _, password = address.credentials.rstrip("@").partition(":")
    secrets = {address.credentials, password, unquote(password), *((user, unquote(user)) if not password else ())}
    for secret in sorted((item for item in secrets if item), key=len, reverse=True):
        text = text.replace(secret, "" if secret == address.credentials else "***")
    return text
