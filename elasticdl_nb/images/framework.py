"""What goes into an image of this installation of elasticdl_nb: its requirements, and the package itself."""

from __future__ import annotations

import email
import hashlib
import importlib.resources
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlparse

from packaging.requirements import Requirement
from packaging.version import Version

from elasticdl_nb.runtime.errors import ImageError

NAME = "elasticdl_nb"
# The extras that pods need; those of object stores are added if this installation can use them, too.
_EXTRAS = ("kubernetes", "tls")
_OPTIONAL = {"s3": "s3fs", "gs": "gcsfs", "kafka": "confluent_kafka"}
# The folders of a source tree that are not part of the package.
_NOT_SOURCE = {
    "build",
    "dist",
    "docs",
    "tests",
    "benchmarks",
    "notebooks",
    "demo-output",
    "__pycache__",
    "node_modules",
}


@dataclass(frozen=True)
class Framework:
    """The lines of a requirements file, and what installs elasticdl_nb itself: a wheel or `elasticdl_nb==VERSION`."""

    requirements: tuple[str, ...]
    wheel: Path | None
    version: str

    @property
    def installed_from(self) -> str:
        """The argument for `pip install`."""
        return self.wheel.name if self.wheel else f"{NAME}=={self.version}"

    def files(self) -> dict[str, bytes]:
        """The files that the image's recipe copies."""
        script = importlib.resources.files("elasticdl_nb.images") / "install.py"
        files = {"framework.txt": "\n".join(self.requirements).encode() + b"\n", "install.py": script.read_bytes()}
        return {**files, self.wheel.name: self.wheel.read_bytes()} if self.wheel else files


def this_framework() -> Framework:
    """Return the framework as it is installed here.

    If it came from the package index, pods install it from there. Otherwise, as for a source tree, it is a wheel, which
    is built once for every state of the source. Raises ImageError if that fails.
    """
    distribution = _installed()
    source = _source(distribution)
    wheel = _wheel(source) if source else None
    # The wheel's, as those of an editable installation may be older than its source.
    declared = _declared(wheel) if wheel else distribution.requires or ()
    extras = [*_EXTRAS, *(extra for extra, package in _OPTIONAL.items() if _is_installed(package))]
    return Framework(tuple(sorted(_requirements(declared, extras))), wheel, distribution.version)


def _installed() -> metadata.Distribution:
    # In a source tree Python also finds what the build left there, which does not say where it was installed from.
    found = list(metadata.distributions(name=NAME))
    return next((one for one in found if one.read_text("direct_url.json")), None) or metadata.distribution(NAME)


def _declared(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name)).get_all("Requires-Dist") or []


def _is_installed(package: str) -> bool:
    return next(iter(metadata.distributions(name=package)), None) is not None


def _requirements(declared: Iterable[str], extras: Iterable[str]) -> Iterator[str]:
    """The requirements without extras and those of these extras, which may include other extras of this package."""
    parsed = [Requirement(text) for text in declared]
    wanted, pending = set(), list(extras)
    while pending:
        extra = pending.pop()
        if extra in wanted:
            continue
        wanted.add(extra)
        for requirement in parsed:
            if _belongs_to(requirement, extra) and requirement.name.replace("-", "_") == NAME:
                pending += requirement.extras
    for requirement in parsed:
        if requirement.name.replace("-", "_") == NAME:
            continue
        if "extra ==" not in str(requirement.marker):
            yield str(requirement)
        elif any(_belongs_to(requirement, extra) for extra in wanted):
            requirement.marker = None
            yield str(requirement)


def _belongs_to(requirement: Requirement, extra: str) -> bool:
    return f'extra == "{extra}"' in str(requirement.marker)


def _source(distribution: metadata.Distribution) -> Path | None:
    """The source tree, or the wheel, that elasticdl_nb was installed from (PEP 610); None for a package index."""
    text = distribution.read_text("direct_url.json")
    url = urlparse(json.loads(text)["url"]) if text else None
    if url is None or url.scheme != "file":
        return None
    path = Path(unquote(url.path))
    if not path.exists():
        raise ImageError(f"{NAME} was installed from {path}, which no longer exists; reinstall it to build images")
    return path


# ------------------------------------------------------------------ wheels


def _wheel(source: Path) -> Path:
    if source.suffix == ".whl":
        return source
    files = {path.relative_to(source).as_posix(): path for path in _source_files(source)}
    folder = _cache() / _digest(files)
    made = sorted(folder.glob("*.whl"))
    return made[0] if made else _make_wheel(files, folder)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "elasticdl" / "wheels"


def _source_files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            n for n in folders if n not in _NOT_SOURCE and not n.startswith(".") and "egg-info" not in n
        )
        yield from (
            Path(folder) / name for name in sorted(names) if not name.startswith(".") and not name.endswith(".pyc")
        )


def _digest(files: dict[str, Path]) -> str:
    total = hashlib.sha256()
    for name, path in files.items():
        content = path.read_bytes()
        total.update(f"{name}\0{len(content)}\0".encode() + content)
    return total.hexdigest()[:32]


def _make_wheel(files: dict[str, Path], folder: Path) -> Path:
    """Build the wheel from a copy of the files, so that nothing is written to the source tree."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="wheel-", dir=folder.parent) as temporary:
        source, made = Path(temporary) / "source", Path(temporary) / "made"
        for name, path in files.items():
            copy = source / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        command = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            f"--wheel-dir={made}",
            os.fspath(source),
        ]
        if _has_build_tools((source / "pyproject.toml").read_text()):
            command.append("--no-build-isolation")
        # The same files must make the same wheel, so that the engine reuses the layer it made from it.
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "946684800"}
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise ImageError(f"no wheel of {NAME} could be built from its source: {_last(done.stderr or done.stdout)}")
        try:
            made.rename(folder)
        except OSError:  # another process was faster
            if not folder.exists():
                raise
    return next(folder.glob("*.whl"))


def _has_build_tools(pyproject: str) -> bool:
    needed = re.search(r"setuptools>=(\d+)", pyproject)
    here = next((item.version for item in metadata.distributions(name="setuptools")), "0")
    return needed is not None and Version(here) >= Version(needed[1])


def _last(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-5:])
