"""Versions that are published while a job trains: each is what its record says, whatever is killed meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import counting
import numpy as np
import pytest
from test_followed import PER_FILE, RECORDS, Stream, kill, until_done

import elasticdl_nb
from elasticdl_nb.job import Job, launch
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.storage.versions import VersionRecord, records_of

pytestmark = pytest.mark.timeout(600)
NUMBERS = {"number": np.arange(RECORDS)[:, None]}


def wait_for(happened: Callable[[], Any], job: Job) -> Any:
    """Wait until something is true, and return it."""
    deadline = time.monotonic() + 300
    while not (found := happened()):
        assert time.monotonic() < deadline, job.status()
        assert not job.status().finished_at, job.status().failure.message
        time.sleep(0.05)
    return found


def kill_publisher(job: Job) -> None:
    """Kill the process that writes versions, which is the only child of the master's with this name."""
    folder = os.fspath(JobFolder(Path(job.folder.path)).path)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if "elasticdl_nb.runtime.publishing" in command and folder in command:
            os.kill(int(process.name), signal.SIGKILL)


class Watched:
    """The versions in a folder as they appear; each must predict what its record says, and never change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: dict[int, VersionRecord] = {}
        self.before: dict[str, int] = {}
        """Records that were in the model with which a job began."""

    def look(self) -> int:
        """Check those that are new; return the number of records in the newest."""
        total = max((self.records(record) for record in self.seen.values()), default=0)
        for number, path, record in records_of(self.folder):
            if number in self.seen:
                assert self.seen[number] == record
                continue
            try:
                found = np.asarray(elasticdl_nb.load(path)(NUMBERS)).reshape(-1)
            except (OSError, OptionError):
                assert not path.exists(), "only what was removed for want of room cannot be read"
                continue
            self.before.setdefault(record.job, total)
            assert Counter(found.tolist()) == {1.0: self.records(record), 0.0: RECORDS - self.records(record)}
            assert number > max(self.seen, default=0)
            self.seen[number] = record
        return max((self.records(record) for record in self.seen.values()), default=0)

    def records(self, record: VersionRecord) -> int:
        return self.before[record.job] + record.records


class Asking(threading.Thread):
    """Asks a server of predictions, one request after the other; `seen` are the sums of its answers."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url, self._body = url, json.dumps({"instances": [{"number": [n]} for n in range(RECORDS)]}).encode()
        self.failures: list[str] = []
        self.seen: list[float] = []
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.wait(0.05):
            try:
                with urllib.request.urlopen(f"{self._url}:predict", self._body, timeout=60) as answer:
                    self.seen.append(float(np.sum(json.load(answer)["predictions"])))
            except OSError as error:
                self.failures.append(str(error))


def ask_until(served: Asking, total: int) -> None:
    """End the requests once the newest version is served; none may have failed."""
    deadline = time.monotonic() + 120
    while not served.seen or served.seen[-1] != total:
        assert time.monotonic() < deadline, (served.seen[-1:], served.failures)
        time.sleep(0.1)
    served.stopping.set()
    served.join()
    assert not served.failures
    assert served.seen == sorted(served.seen)
    assert len(set(served.seen)) > 1, "versions were swapped in while it was asked"


def has_learnt(watched: Watched, records: int) -> Callable[[], bool]:
    return lambda: watched.look() == records


@pytest.mark.parametrize("strategy", ["Local", "ParameterServerStrategy"])
def test_versions_are_what_they_say_whatever_dies(
    strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    options = counting.write(tmp_path, RECORDS)
    stream = Stream(tmp_path / "stream")
    stream.grow(2)
    servers = {"num_workers": 2, "num_ps": 2} if strategy != "Local" else {}
    options |= {
        "data": stream.folder, "follow": True, "minibatch_size": 32, "num_minibatches_per_task": 2, "wait": False,
        "distribution_strategy": strategy, "envs": {"ELASTICDL_SERVE_FROM_BYTES": "1"}, "checkpoint_delta_mb": 0,
        "keep_published": 2, **servers,
    }  # fmt: skip
    watched = Watched(tmp_path / "out")
    job = elasticdl_nb.train(**options, publish_every="1s")
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: [launch.kill(folder) for folder in JobFolder.all()])
        wait_for(has_learnt(watched, stream.written), job)
        if not servers:
            served = Asking(stack.enter_context(elasticdl_nb.serve(watched.folder)).url)
            stack.callback(served.stopping.set)
            served.start()
        stream.grow()
        kill_publisher(job)
        wait_for(has_learnt(watched, stream.written), job)
        stream.grow()
        kill(job, "master", "worker-0", *(["ps-0"] if servers else []))
        wait_for(has_learnt(watched, stream.written), job)
        assert len(records_of(watched.folder)) <= 3, "the last two, and one that is about to be removed"
        until_done(job, stream.written)
        job.stop().wait()
        last = records_of(watched.folder)[-1][2]
        assert last.final and last.records == stream.written == watched.look()
        assert len(list(watched.folder.iterdir())) == 2, "nothing is left of what was killed"
        if not servers:
            ask_until(served, stream.written)
        else:  # a later job goes on from the last version, and adds its own
            stream.grow()
            options |= {"publish_every": f"{PER_FILE} records", "checkpoint_dir_for_init": watched.folder}
            later = elasticdl_nb.train(**options)
            wait_for(has_learnt(watched, stream.written), later)
            later.cancel()
            assert records_of(watched.folder)[-1][2].job != last.job


def test_what_does_not_go_together_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    options = counting.write(tmp_path, RECORDS)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").touch()
    for more, text in (
        ({"publish_every": "10"}, "expected a time, such as 60s"),
        ({"publish_every": "0s"}, "expected a time"),
        ({"publish_every": "1.5 records"}, "expected a time"),
        ({"publish_every": 60}, "expected a time"),
        ({"publish_every": "1m", "checkpoint_steps": 5}, "checkpoint_steps: given together with publish_every"),
        ({"publish_every": "1m", "overwrite": True}, "overwrite: given together with publish_every"),
        ({"publish_every": "1m", "output": "memory://versions"}, "output: given together with publish_every"),
        ({"publish_every": "1m", "output": None}, "publish_every: has an effect only with output"),
        ({"publish_every": "1m", "output": tmp_path / "taken"}, "has more in it than versions called 1, 2, …"),
        ({"keep_published": 5}, "keep_published: has an effect only with publish_every"),
    ):
        with pytest.raises(OptionError, match=text):
            elasticdl_nb.train(**{**options, **more})


def test_a_record_that_is_damaged_is_no_version(tmp_path: Path) -> None:
    folder = tmp_path / "1"
    folder.mkdir()
    (folder / "trained_model.pb").touch()
    VersionRecord("job", 1, 2, 3.0, 4.0).write(folder)
    assert [(number, record.records) for number, _, record in records_of(tmp_path)] == [(1, 2)]
    (folder / "version.json").write_text("{")
    assert records_of(tmp_path) == []
