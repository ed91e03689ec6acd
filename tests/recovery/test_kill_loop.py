"""Kills and stops at random instants: the short form of `benchmarks/kill_loop.py`, which says what is done."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(900)
SPEC = importlib.util.spec_from_file_location(
    "kill_loop", Path(__file__).parents[2] / "benchmarks" / "kill_loop.py"
)  # fmt: skip
assert SPEC and SPEC.loader
kill_loop = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(kill_loop)

BLOWS = int(os.environ.get("ELASTICDL_TEST_BLOWS", "8"))
SEED = int(os.environ.get("ELASTICDL_TEST_SEED", "0"))


@pytest.mark.parametrize("name", ["PS 3 async", "all-reduce", "predict file"])
def test_whatever_dies_or_stops_the_result_is_right_and_nothing_is_left(name, tmp_path, monkeypatch):
    monkeypatch.setenv("ELASTICDL_HOME", "")  # put back afterwards
    (tmp_path / "job").mkdir()
    result = kill_loop.hit(tmp_path / "job", name, blows=BLOWS, seed=SEED)
    assert not result.wrong, result.blows
