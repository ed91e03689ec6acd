"""A Docker engine, an image registry, and base images that come from no registry."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from daemons import CACHE, RUN, Daemon, locked, output, shared
from packaging.requirements import Requirement

# Debian's minimal system with Python 3.11 and pip, about 145 MB; and the same with what elasticdl_nb depends on.
PYTHON_IMAGE = "elasticdl-test/python:3.11"
FRAMEWORK_IMAGE = "elasticdl-test/framework:3.11"
REGISTRY = "127.0.0.1:5000"
_PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
_SITE = "usr/local/lib/python3.11/dist-packages"
# What programs in pods need of elasticdl_nb's extras.
_EXTRAS = ("kubernetes", "tls", "s3", "gs")

_dockerd = Daemon("dockerd")
_registry = Daemon("docker-registry")
_RULES = RUN / "iptables-before-docker"


def answers() -> bool:
    """Whether a Docker engine is there."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "version"], capture_output=True).returncode == 0


@contextlib.contextmanager
def docker_engine() -> Iterator[None]:
    """Have a Docker engine: the machine's own if it runs, else one that ends with its last user."""
    with shared("dockerd", _start_engine, _stop_engine):
        yield


def _start_engine() -> None:
    if answers():
        return
    _RULES.write_text(output("iptables-save"))
    # Left by an engine that was killed: the next would wait for a process that is not it.
    Path("/var/run/docker.pid").unlink(missing_ok=True)
    _dockerd.start("dockerd")
    _dockerd.wait_until(answers)


def _stop_engine() -> None:
    if not _RULES.exists():
        return
    _dockerd.stop()
    with _RULES.open() as rules:
        subprocess.run(["iptables-restore"], stdin=rules, check=True)
    subprocess.run(["ip", "link", "delete", "docker0"], capture_output=True)
    _RULES.unlink()


@contextlib.contextmanager
def image_registry() -> Iterator[str]:
    """Have an image registry on the loopback address, whose images are kept; yields its address."""
    with shared("docker-registry", _start_registry, _registry.stop):
        yield REGISTRY


def _start_registry() -> None:
    if _listens(REGISTRY):
        return
    config = RUN / "docker-registry.yml"
    config.write_text(
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {CACHE / 'registry'}}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '{REGISTRY}'}}\n"
    )
    _registry.start("docker-registry", "serve", config)
    _registry.wait_until(lambda: _listens(REGISTRY))


def _listens(address: str) -> bool:
    host, _, port = address.partition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=5):
        return True
    return False


# ------------------------------------------------------------------ base images


def python_image() -> str:
    """Make PYTHON_IMAGE unless it is there; return its name."""
    with locked("python-image"):
        if not _exists(PYTHON_IMAGE):
            with tempfile.TemporaryDirectory(prefix="elasticdl-debian-") as root:
                _install_debian(Path(root))
                _import(Path(root), PYTHON_IMAGE)
    return PYTHON_IMAGE


def framework_image() -> str:
    """Make FRAMEWORK_IMAGE unless it is there; return its name.

    Its packages are those of this environment, compiled files included: fetching and compiling them anew takes minutes.
    Under another Python than the image's that does not do, and PYTHON_IMAGE is returned, on which pip installs them.
    """
    base = python_image()
    if sys.version_info[:2] != (3, 11) or sys.platform != "linux":
        return base
    with locked("framework-image"):
        wanted = ",".join(f"{name}={version}" for name, version in sorted(_dependencies().items()))
        if _label(FRAMEWORK_IMAGE, "packages") != wanted:
            container = output("docker", "create", base, "true").strip()
            try:
                _copy_packages(container)
                output("docker", "commit", "--change", f'LABEL packages="{wanted}"', container, FRAMEWORK_IMAGE)
            finally:
                output("docker", "rm", container)
    return FRAMEWORK_IMAGE


def _exists(image: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode == 0


def _label(image: str, name: str) -> str:
    if not _exists(image):
        return ""
    return output("docker", "image", "inspect", "--format", f'{{{{index .Config.Labels "{name}"}}}}', image).strip()


def _install_debian(root: Path) -> None:
    format = ["--format", "$(REPO_URI)", "Created-By: Packages", "Codename: bookworm", "Label: Debian"]
    mirrors = output("apt-get", "indextargets", *format, "Component: main").split()
    if not mirrors:
        raise RuntimeError("apt-get knows no Debian bookworm mirror: run apt-get update first")
    output("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", root, mirrors[0])
    for unneeded in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
        shutil.rmtree(root / unneeded, ignore_errors=True)
    # What the machine trusts, so that pip works in the image as it does outside.
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs/ca-certificates.crt")


def _import(root: Path, image: str) -> None:
    setting = "ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt"
    archive = subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE)
    subprocess.run(["docker", "import", "--change", setting, "-", image], stdin=archive.stdout, check=True, stdout=-3)
    if archive.wait():
        raise RuntimeError(f"tar of {root} fails")


def _dependencies() -> dict[str, str]:
    """Names and versions of the installed distributions that programs in pods need."""
    found: dict[str, str] = {}
    pending = [(requirement, _EXTRAS) for requirement in metadata.requires("elasticdl_nb") or ()]
    while pending:
        text, extras = pending.pop()
        requirement = Requirement(text)
        applies = [not requirement.marker or requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)]
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if not any(applies) or name in (*found, "elasticdl-nb"):
            continue
        found[name] = metadata.version(name)
        pending += [(inner, tuple(requirement.extras)) for inner in metadata.requires(name) or ()]
    return found


def _copy_packages(container: str) -> None:
    copy = subprocess.Popen(["docker", "cp", "-", f"{container}:/"], stdin=subprocess.PIPE)
    assert copy.stdin
    with copy.stdin, tarfile.open(fileobj=copy.stdin, mode="w|") as archive:
        for name in _dependencies():
            for file in metadata.files(name) or ():
                path = os.path.normpath(file.locate())
                # Headers and tests of TensorFlow and Arrow are a fifth of the whole.
                if ".." in file.parts or re.search(r"(^|/)(include|tests)/", str(file)) or not os.path.isfile(path):
                    continue
                archive.add(path, f"{_SITE}/{file}", filter=_as_root)
    if copy.wait():
        raise RuntimeError("docker cp fails")


def _as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mode |= 0o444
    return entry
