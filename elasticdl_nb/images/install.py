"""Runs inside images, with their Python: `pip install ARGUMENTS`, keeping the TensorFlow of the base image.

TensorFlow comes as several distributions (tensorflow, tensorflow-cpu, …) that overwrite each other's files. If one of
them is installed, requirements for any other are changed to that one.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

_TENSORFLOW = re.compile(r"^\s*(tensorflow(?:[-_](?:cpu|gpu|intel|rocm))?)\b(?![-_.\w])(?:\[[^]]*\])?", re.IGNORECASE)


def installed_tensorflow() -> str:
    """The name of the distribution that provides TensorFlow here; empty if there is none."""
    names = {(item.metadata["Name"] or "").lower().replace("_", "-") for item in metadata.distributions()}
    found = sorted(name for name in names if _TENSORFLOW.fullmatch(name))
    return found[0] if found else ""


def for_tensorflow(text: str, name: str) -> str:
    """Replace every TensorFlow in requirements with this one; drop markers, which only choose between distributions.

    >>> for_tensorflow("keras>=3\\ntensorflow>=2.21; sys_platform == 'linux'", "tensorflow-cpu")
    'keras>=3\\ntensorflow-cpu>=2.21'
    """
    lines = []
    for line in text.splitlines():
        changed = _TENSORFLOW.sub(name, line)
        if changed != line or _TENSORFLOW.match(line):
            changed = changed.partition(";")[0].rstrip()
        lines.append(changed)
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Install, and return pip's exit code."""
    present = installed_tensorflow()
    if present and arguments[0] == "-r":
        folder = Path(arguments[1]).parent
        for file in folder.glob("*.txt"):
            file.write_text(for_tensorflow(file.read_text(), present))
    return subprocess.call([sys.executable, "-m", "pip", "install", "--progress-bar=off", *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
