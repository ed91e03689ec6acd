"""Servers under attack, with and without TLS: the short form of `benchmarks/fuzz_serving.py`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))


def test_every_attack_has_its_answer_and_no_server_ends() -> None:
    pytest.importorskip("cryptography")
    import fuzz_serving

    assert fuzz_serving.attack_both(requests=400, seed=0, spare=64 << 20, patience=100.0) == {"plain": [], "TLS": []}
