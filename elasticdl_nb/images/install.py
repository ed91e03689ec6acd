"""Runs inside images, with their Python: `pip install ARGUMENTS`, on top of the TensorFlow that a base image brings.

TensorFlow comes as several distributions (tensorflow, tensorflow-cpu, …) that overwrite each other's files. Where one
of them is installed, requirements for another mean it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

_TENSORFLOW = re.compile(r"^\s*(tensorflow(?:[-_](?:cpu|gpu|intel|rocm))?)\b(?![-_.\w])(?:\[[^]]*\])?", re.IGNORECASE)


def installed_tensorflow() -> str:
    """The name of the distribution that brings TensorFlow here; empty without one."""
    names = {(item.metadata["Name"] or "").lower().replace("_", "-") for item in metadata.distributions()}
    found = sorted(name for name in names if _TENSORFLOW.fullmatch(name))
    return found[0] if found else ""


def for_tensorflow(text: str, name: str) -> str:
    """Requirements with every TensorFlow replaced by the one of that name; its markers go, as they chose between them.

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
    """Install; returns pip's exit code."""
    present = installed_tensorflow()
    if present and arguments[0] == "-r":
        folder = Path(arguments[1]).parent
        for file in folder.glob("*.txt"):
            file.write_text(for_tensorflow(file.read_text(), present))
    return subprocess.call([sys.executable, "-m", "pip", "install", "--progress-bar=off", *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
