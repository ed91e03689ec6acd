"""What some tests need and not every machine has.

A test marked `@pytest.mark.needs("browser")` is skipped, visibly, where there is none, and fails instead if the
environment variable ELASTICDL_TEST_REQUIRE has that name in its comma-separated list.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from clients_of_others import CLIENTS

from elasticdl_nb.runtime.storage.locks import is_locked

CACHE = Path.home() / ".cache" / "elasticdl-nb"


def chromium() -> str:
    """Return the path of a Chromium or Chrome, or an empty string."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for name in names if (path := shutil.which(name))), "")


def _browser() -> str:
    if not chromium():
        return "no chromium on the PATH"
    missing = [name for name in ("playwright", "jupyterlab") if importlib.util.find_spec(name) is None]
    return f"{missing[0]} is not installed" if missing else ""


def _docker() -> str:
    problem = _command_fails("docker", "version")
    if problem and shutil.which("dockerd") and os.geteuid() == 0:
        problem = ""  # tests/cluster starts it
    missing = [name for name in ("docker-registry", "debootstrap") if shutil.which(name) is None]
    if missing:
        problem = problem or f"no {missing[0]} on the PATH"
    return problem and f"{problem}; as root on Debian, .ci/components installs what it takes"


def _kubernetes() -> str:
    if problem := _docker():
        return problem
    missing = [name for name in ("etcd", "iptables", "conntrack", "ip") if shutil.which(name) is None]
    if missing:
        return f"no {missing[0]} on the PATH; as root on Debian, .ci/components installs what it takes"
    if os.geteuid() != 0:
        return "only root can run a kubelet"
    if not (CACHE / "kubernetes" / "bin" / "kubelet").exists() and not is_locked(CACHE / "run" / "build-kubernetes"):
        return "it is not built; python tests/cluster/bring_up.py prepare builds it in about 6 minutes"
    return ""


def postgresql_program(name: str) -> str:
    """Return the path of one of PostgreSQL's own programs, or an empty string; Debian keeps them off the PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return shutil.which(name) or (str(versions[-1]) if versions else "")


def _postgresql() -> str:
    missing = [name for name in ("initdb", "postgres") if not postgresql_program(name)]
    return f"no {missing[0]} of PostgreSQL" if missing else ""


def mariadb_program(name: str) -> str:
    """Return the path of one of MariaDB's programs, or an empty string."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin") or ""


def _mariadb() -> str:
    missing = [name for name in ("mariadb-install-db", "mariadbd") if not mariadb_program(name)]
    return f"no {missing[0]} on the PATH" if missing else ""


KAFKA = "kafka-server-start.sh"


def _kafka() -> str:
    if os.environ.get("ELASTICDL_TEST_KAFKA") or shutil.which(KAFKA):
        return ""
    return f"no {KAFKA} on the PATH, and ELASTICDL_TEST_KAFKA=HOST:PORT does not name a broker for tests"


def _client(name: str) -> str:
    return "" if CLIENTS[name].is_installed() else "it is not installed; python tests/clients_of_others.py installs it"


def _command_fails(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return f"no {command[0]} on the PATH"
    try:
        done = subprocess.run(command, capture_output=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return f"{' '.join(command)} does not answer"
    return "" if done.returncode == 0 else f"{' '.join(command)} fails: {done.stderr.decode().strip()[:200]}"


_CHECKS: dict[str, Callable[[], str]] = {
    "browser": _browser, "docker": _docker, "kafka": _kafka, "kubernetes": _kubernetes, "mariadb": _mariadb,
    "postgresql": _postgresql, **{name: partial(_client, name) for name in CLIENTS},
}  # fmt: skip
_found: dict[str, str] = {}


def why_missing(name: str) -> str:
    """Return why this machine does not have what `name` stands for; an empty string if it has."""
    if name not in _found:
        _found[name] = _CHECKS[name]()
    return _found[name]


def is_required(name: str) -> bool:
    """Whether its absence is to fail tests rather than to skip them."""
    return name in os.environ.get("ELASTICDL_TEST_REQUIRE", "").replace(" ", "").split(",")
