"""Notebooks written to dig: whatever changed their objects, the package is equal, or it is refused by name."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import scenarios_habits
import scenarios_keras
import scenarios_python

TABLES = {one.__name__: one.SCENARIOS for one in (scenarios_python, scenarios_keras, scenarios_habits)}


@functools.cache
def played(table: str) -> dict[str, str]:
    here = Path(__file__).parent
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, str(here / "playing.py"), table],
        cwd=here, env=environment, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has TensorFlow")
@pytest.mark.parametrize(("table", "name"), [(table, name) for table, known in TABLES.items() for name in known])
def test_the_package_of_a_notebook_is_equal_or_refused(table: str, name: str) -> None:
    assert not played(table)[name]
