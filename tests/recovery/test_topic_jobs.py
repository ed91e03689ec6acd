"""A training that follows a Kafka topic uses every record once, whatever dies, and a later job goes on from there."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import counting
import kafkabrokers
import pytest
from test_followed import kill, until_done

import elasticdl_nb
from elasticdl_nb.job import Job, launch
from elasticdl_nb.runtime.control.status import is_over
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

pytestmark = pytest.mark.timeout(600)
RECORDS, PARTITIONS = 3000, 3


class Stream:
    """A topic that gains numbered records, in all its partitions in turn; every tenth is two hours late."""

    def __init__(self, brokers: kafkabrokers.Brokers) -> None:
        self.brokers, self.written = brokers, 0
        self.url = brokers.create("numbers", PARTITIONS)

    def grow(self, records: int) -> None:
        for partition in range(PARTITIONS):
            numbers = range(self.written + partition, self.written + records, PARTITIONS)
            at = time.time() * 1000
            values = [b'{"number": %d, "at": %d}' % (n, at - 7_200_000 * (n % 10 == 0)) for n in numbers]
            self.brokers.produce("numbers", partition, values)
        self.written += records


def told(job: Job, text: str) -> bool:
    return any(text in event.text for event in job.status().events)


def until_told(job: Job, text: str) -> None:
    deadline = time.monotonic() + 120
    while not told(job, text):
        assert not is_over(job.status()), job.status().failure.message
        assert time.monotonic() < deadline, [event.text for event in job.status().events]
        time.sleep(0.1)


def test_each_record_counts_once_whatever_dies_and_a_later_job_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    options = counting.write(tmp_path, RECORDS)
    with kafkabrokers.running() as brokers:
        try:
            _use(tmp_path, options, brokers)
        finally:
            for folder in JobFolder.all():
                launch.kill(folder)


def _use(tmp_path: Path, options: dict[str, object], brokers: kafkabrokers.Brokers) -> None:
    stream, checkpoints = Stream(brokers), tmp_path / "checkpoints"
    stream.grow(400)
    dead = tmp_path / "dead"
    options |= {
        "data": f"{stream.url}?group=numbers&dead_letters={dead}&event_time=at&late=1h", "follow": True,
        "data_reader_params": {"columns": ["number"]}, "minibatch_size": 32, "num_minibatches_per_task": 2,
        "checkpoint_steps": 8, "checkpoint_dir": checkpoints, "wait": False,
    }  # fmt: skip
    job = elasticdl_nb.train(**options, distribution_strategy="ParameterServerStrategy", num_workers=2, num_ps=1)
    until_done(job, 400)
    stream.grow(400)
    brokers.produce("numbers", 1, [b"no JSON at all", b'{"number": "one"}', b'{"other": 1}', None])
    kill(job, "worker-0", "ps-0", "master")
    stream.grow(400)
    until_done(job, stream.written)
    brokers.down()
    until_told(job, "brokers answer")
    brokers.up()
    stream.grow(200)
    until_done(job, stream.written)
    status = job.status()
    assert status.records_done == stream.written == status.records_total and status.records_malformed == 4
    assert told(job, "record(s) could not be used so far; kafka://")
    assert told(job, "record(s) so far came late and were trained on; kafka://")
    assert (status.records_late, status.records_late_passed) == (stream.written / 10, 0), "whatever has died"
    assert time.time() - 120 < status.event_time_oldest <= status.event_time < time.time()
    assert status.lag_seconds == 0 and "; up to date\n" in job.report()
    job.cancel()
    letters = [json.loads(line) for file in dead.iterdir() for line in file.read_text().splitlines()]
    assert [one["value"] for one in sorted(letters, key=lambda one: one["offset"])] == [
        "no JSON at all", '{"number": "one"}', '{"other": 1}', None
    ]  # fmt: skip

    stream.grow(300)
    later = elasticdl_nb.train(**options, checkpoint_dir_for_init=checkpoints)
    stream.grow(300)
    until_done(later, 301)
    later.stop().wait()
    assert Counter(counting.uses(tmp_path)) == {1: stream.written, 0: RECORDS - stream.written}
    used = json.loads((tmp_path / "out" / "used_files.json").read_text())
    assert sum(used["offsets"].values()) == stream.written + 4 and not used["left"]
    lines = [json.loads(line) for file in dead.iterdir() for line in file.read_text().splitlines()]
    assert sorted(lines, key=str) == sorted(letters, key=str), "each of them once, though two jobs have read them"

    # The topic is there, with more records than were used, but it is another one.
    with kafkabrokers.running() as others:
        other = Stream(others)
        other.grow(stream.written + 30)
        again = {**options, "data": f"{other.url}?event_time=at", "output": tmp_path / "out-2", "wait": True}
        again |= {"checkpoint_dir": tmp_path / "checkpoints-2", "checkpoint_dir_for_init": tmp_path / "out"}
        with pytest.raises(elasticdl_nb.JobFailed, match=r"the record at offset .* is not the one that was trained on"):
            elasticdl_nb.train(**again)
