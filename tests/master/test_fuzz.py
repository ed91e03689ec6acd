"""Every port of a job under nonsense: the short form of `benchmarks/fuzz_ports.py`, which says what is done."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).parents[2] / "benchmarks" / "fuzz_ports.py"


def test_nonsense_on_any_port_does_nothing() -> None:
    done = subprocess.run([sys.executable, str(FUZZ), "--frames", "6000"], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert result["problems"] == {}
    assert min(result["frames"].values()) > 300
