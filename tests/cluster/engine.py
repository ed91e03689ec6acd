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
# What the machine trusts, the image does, so that pip works in it as outside.
_TRUST = "ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt"
# A fifth of all that is installed: headers, tests, and a compiler's library.
_UNNEEDED = re.compile(r"(^|/)(include|tests|clang/native)/")
# What programs in pods need of elasticdl_nb's extras.
_EXTRAS = ("kubernetes", "tls", "s3", "gs")

_dockerd = Daemon("dockerd")
_registry = Daemon("docker-registry")
_RULES = RUN / "iptables-before-docker"
_EMPTY_TABLES = ("*nat", "*filter\n:FORWARD ACCEPT [0:0]")


def answers() -> bool:
    """Whether a Docker engine is there."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "version"], capture_output=True).returncode == 0


def can_run() -> bool:
    """Whether engine and registry run here, or can be started."""
    startable = shutil.which("dockerd") is not None and os.geteuid() == 0
    return (answers() or startable) and shutil.which("docker-registry") is not None


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
    rules = _RULES.read_text()
    # A table that had never been used is not in there; it is emptied.
    rules += "".join(f"{start}\nCOMMIT\n" for start in _EMPTY_TABLES if start.splitlines()[0] not in rules)
    subprocess.run(["iptables-restore"], input=rules, text=True, check=True)
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
                with _import(PYTHON_IMAGE) as archive:
                    archive.add(root, ".")
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
                with _import(FRAMEWORK_IMAGE, f'LABEL packages="{wanted}"') as archive:
                    _copy_base(container, archive)
                    _copy_packages(archive)
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
    asked = [
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
        "Codename: bookworm",
        "Label: Debian",
        "Component: main",
    ]
    mirrors = output("apt-get", "indextargets", *asked).split()
    if not mirrors:
        raise RuntimeError("apt-get knows no Debian bookworm mirror: run apt-get update first")
    output("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", root, mirrors[0])
    for unneeded in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
        shutil.rmtree(root / unneeded, ignore_errors=True)
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs/ca-certificates.crt")


@contextlib.contextmanager
def _import(image: str, *changes: str) -> Iterator[tarfile.TarFile]:
    """Make an image of one layer of what the block adds to the archive; faster than any other way."""
    settings = [f"--change={change}" for change in (_TRUST, *changes)]
    docker = subprocess.Popen(
        ["docker", "import", *settings, "-", image], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert docker.stdin
    try:
        with docker.stdin, tarfile.open(fileobj=docker.stdin, mode="w|") as archive:
            yield archive
    finally:
        failed = docker.wait()
    if failed:
        raise RuntimeError(f"docker import of {image} fails")


def _copy_base(container: str, archive: tarfile.TarFile) -> None:
    export = subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE)
    with tarfile.open(fileobj=export.stdout, mode="r|") as base:
        for entry in base:
            archive.addfile(entry, base.extractfile(entry) if entry.isreg() else None)
    if export.wait():
        raise RuntimeError("docker export fails")


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


def _copy_packages(archive: tarfile.TarFile) -> None:
    for name in _dependencies():
        for file in metadata.files(name) or ():
            path = os.path.normpath(file.locate())
            if ".." not in file.parts and not _UNNEEDED.search(str(file)) and os.path.isfile(path):
                archive.add(path, f"{_SITE}/{file}", filter=_as_root)


def _as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mode |= 0o444
    return entry
