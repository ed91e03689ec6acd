"""Two running jobs never write to the same place."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from elasticdl_nb.given import sharing
from elasticdl_nb.given.sharing import check_not_shared
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage import ownership
from elasticdl_nb.runtime.storage.jobfolder import JobFolder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sharing, "ENDING_SECONDS", 0.3)


def job(name: str, **options: object) -> JobFolder:
    return JobFolder.create(JobSpec.create("train", model_def="m", data="d", job_name=name, **options))


@pytest.mark.parametrize("option", ["output", "checkpoint_dir"])
def test_a_place_of_a_running_job_is_refused_until_it_has_ended(tmp_path: Path, option: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "place")
    first, second = job("first", **{option: tmp_path / "place"}), job("second", **{option: tmp_path / "link"})
    check_not_shared(second.spec(), second)
    with first.hold_master_lock():
        check_not_shared(first.spec(), first)
        with pytest.raises(OptionError, match=f"^{option}: .*place is also written to by the job 'first'"):
            check_not_shared(second.spec(), second)
        first.mark_over()  # its processes need not be gone
        check_not_shared(second.spec(), second)


def test_a_job_whose_end_was_seen_may_take_a_moment_to_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "ENDING_SECONDS", 20.0)
    first, second = job("first", output=tmp_path / "place"), job("second", output=tmp_path / "place")
    with first.hold_master_lock():
        threading.Timer(0.3, first.mark_over).start()
        begun = time.monotonic()
        check_not_shared(second.spec(), second)
        assert 0.2 < time.monotonic() - begun < 15


def test_a_directory_of_checkpoints_says_itself_whose_it_is(tmp_path: Path) -> None:
    second = job("second", checkpoint_dir=tmp_path / "place")
    ownership.claim(tmp_path / "place", ownership.Owner("1", "someone's", "/elsewhere", "another machine"))
    with pytest.raises(OptionError, match=r"^checkpoint_dir: .*place is used by the job .someone.*is running"):
        check_not_shared(second.spec(), second)
