"""Kills and stops at random instants: the short form of `benchmarks/kill_loop.py`, which says what is done."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.append(os.fspath(Path(__file__).parents[2] / "benchmarks"))

import kill_loop

pytestmark = pytest.mark.timeout(900)
BLOWS = int(os.environ.get("ELASTICDL_TEST_BLOWS", "8"))
SEED = int(os.environ.get("ELASTICDL_TEST_SEED", "0"))


@pytest.mark.parametrize("name", ["PS 3 async", "all-reduce", "predict file"])
def test_whatever_dies_or_stops_the_result_is_right_and_nothing_is_left(name, tmp_path, monkeypatch):
    monkeypatch.setenv("ELASTICDL_HOME", "")  # put back afterwards
    (tmp_path / "job").mkdir()
    result = kill_loop.hit(tmp_path / "job", name, blows=BLOWS, seed=SEED)
    assert not result.wrong, result.blows


def test_whatever_dies_each_record_of_a_topic_counts_once(tmp_path, monkeypatch):
    monkeypatch.setenv("ELASTICDL_HOME", "")
    (tmp_path / "job").mkdir()
    blows = 6 if "ELASTICDL_TEST_BLOWS" not in os.environ else BLOWS
    result = kill_loop.hit(tmp_path / "job", "PS 2 topic", blows=blows, seed=SEED, mean=1.0, records=60_000)
    assert not result.wrong, result.blows
