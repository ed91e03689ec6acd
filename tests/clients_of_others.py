"""Clients that others wrote for the protocols we speak, from PyPI, each in a folder of its own.

They need other versions of our dependencies, or a second TensorFlow. `python tests/clients_of_others.py` installs them
and prints the names of those that are there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Client:
    """Packages that are installed into a folder without what they depend on, and a file that shows that they are."""

    name: str
    packages: tuple[str, ...]
    file: str

    @property
    def folder(self) -> Path:
        """Where it is, or would be."""
        return Path.home() / ".cache" / "elasticdl-nb" / self.packages[0].replace("==", "-")

    def is_installed(self) -> bool:
        """Whether it can be imported from its folder."""
        return (self.folder / self.file).exists()

    def install(self) -> None:
        """Install it, all at once."""
        aside = self.folder.with_name(f"{self.folder.name}.{os.getpid()}")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", aside, *self.packages]
        try:
            subprocess.run(command, check=True)
            if not self.is_installed():
                aside.rename(self.folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def environment(self, **variables: str) -> dict[str, str]:
        """Return the variables of a process that uses it."""
        path = os.pathsep.join(filter(None, [os.fspath(self.folder), os.environ.get("PYTHONPATH", "")]))
        return {**os.environ, "PYTHONPATH": path, **variables}


SQLFLOW = Client("sqlflow", ("sqlflow==0.15.0", "protobuf==3.20.3", "ipython>=8,<9"), "sqlflow/client.py")
TENSORFLOW_SERVING = Client(
    "tensorflow-serving", ("tensorflow-serving-api==2.21.0",), "tensorflow_serving/apis/predict_pb2.py"
)
CLIENTS = {client.name: client for client in (SQLFLOW, TENSORFLOW_SERVING)}


def main() -> None:
    for client in CLIENTS.values():
        if not client.is_installed():
            try:
                client.install()
            except (OSError, subprocess.CalledProcessError) as error:
                sys.stderr.write(f"{client.name} could not be installed: {error}\n")
        if client.is_installed():
            sys.stdout.write(f"{client.name}\n")


if __name__ == "__main__":
    main()
