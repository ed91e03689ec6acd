"""SQLFlow's own Python client, from PyPI, in a folder of its own: it needs an older protobuf and IPython.

`python tests/sql/sqlflow_client.py` installs it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path.home() / ".cache" / "elasticdl-nb" / "sqlflow-0.15.0"
_PACKAGES = ("sqlflow==0.15.0", "protobuf==3.20.3", "ipython>=8,<9")


def is_installed() -> bool:
    """Whether the client can be imported from its folder."""
    return (FOLDER / "sqlflow" / "client.py").exists()


def install() -> None:
    """Install the client. Only what it needs in other versions than we do comes along."""
    aside = FOLDER.with_name(f"{FOLDER.name}.{os.getpid()}")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", aside, *_PACKAGES]
    try:
        subprocess.run(command, check=True)
        if not is_installed():
            aside.rename(FOLDER)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def environment(port: int, token: str) -> dict[str, str]:
    """Return the variables of a process that uses the client with this server."""
    path = os.pathsep.join(filter(None, [os.fspath(FOLDER), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "SQLFLOW_SERVER": f"127.0.0.1:{port}", "SQLFLOW_USER_TOKEN": token}


if __name__ == "__main__":
    if not is_installed():
        install()
