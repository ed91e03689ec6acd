"""Where a job's model code comes from: a directory, a notebook, a Git repository, or the models of this package."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from elasticdl_nb.given.gitzoo import GitAddress, check_out, parse_git_url
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.model.reading.modelcheck import built_in_zoo
from elasticdl_nb.runtime.model.saving.zoofiles import copy_zoo, zoo_digest


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


def fetch_zoo(model_zoo: str, into: Path) -> ZooSource:
    """Copy a model zoo into the folder `into`.

    `model_zoo` is a directory, a notebook file (its functions and classes become a module of the same name), a Git URL
    (https, ssh, file or user@host:path; `URL@REF` for a branch, tag or commit), or empty for the models that come with
    elasticdl_nb. Hidden files, byte code, virtual environments and files larger than 50 MB are left out, so that it
    does no harm to name a working folder that holds more than models. A folder of more than 500 MB or 20,000 files is
    refused, and so is one with a symbolic link to somewhere outside it.
    Raises OptionError("model_zoo", …), and CaptureError for a notebook. The credentials of a URL are passed to git
    through its environment and appear in no message, argument or file.
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


def _package(notebook: str, into: Path) -> ZooSource:
    from elasticdl_nb.capture import capture_notebook, write_zoo

    module = os.path.basename(notebook).removesuffix(".ipynb")
    if not module.isidentifier():
        raise OptionError("model_zoo", f"{notebook}: its name must be usable as a module name, and {module!r} is not")
    captured = capture_notebook(notebook)
    write_zoo(captured, into, module)
    return ZooSource(into, os.path.abspath(notebook), zoo_digest(into), notes=tuple(captured.warnings))


def _clone(address: GitAddress, into: Path) -> ZooSource:
    with tempfile.TemporaryDirectory(prefix="elasticdl-zoo-") as temporary:
        commit, notes = check_out(address, Path(temporary))
        copy = copy_zoo(temporary, into)
    return ZooSource(into, address.shown, copy.digest, commit, (*notes, *copy.notes))
