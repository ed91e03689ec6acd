"""Time: nobody is late because the date was set, the machine slept, or the master was stopped or started again."""

import asyncio

import pytest
from play import W0, Play

from elasticdl_nb.runtime.master import bookkeeper
from elasticdl_nb.runtime.master.bookkeeper import Bookkeeper
from elasticdl_nb.runtime.master.decisions import events
from elasticdl_nb.runtime.master.decisions.actions import Kill
from elasticdl_nb.runtime.master.decisions.clock import LONGEST_STEP, JobClock
from elasticdl_nb.runtime.master.decisions.kinds import coordinator_of
from elasticdl_nb.runtime.master.journal import Journal
from elasticdl_nb.runtime.platform.supervisor import HUNG_SECONDS
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage.locks import Silence

HOUR, DAY = 3600.0, 86400.0


def test_the_clock_goes_on_where_the_master_before_left_it_and_never_back():
    clock = JobClock(40.0)
    assert [clock.read(now) for now in (9000.0, 9000.5, 9001.0, 9000.0, 9001.0)] == [40.0, 40.5, 41.0, 41.0, 42.0]


@pytest.mark.parametrize("pause", [10.0, HOUR, DAY])
def test_a_pause_of_the_master_hardly_counts(pause):
    clock = JobClock()
    clock.read(100.0)
    assert clock.read(100.0 + pause) == LONGEST_STEP
    assert clock.read(101.0 + pause) == LONGEST_STEP + 1.0


class Desk:
    """A bookkeeper with clocks that are set by the test, and a worker that says something every second."""

    def __init__(self, path, monkeypatch):
        self.monotonic, self.date, self.killed = 500.0, 1_700_000_000.0, []
        monkeypatch.setattr(bookkeeper.time, "monotonic", lambda: self.monotonic)
        monkeypatch.setattr(bookkeeper.time, "time", lambda: self.date)
        self.path = path
        self.spec = JobSpec.create("predict", trained_model="m", data="f", output="o", num_workers=2, minibatch_size=1)
        self.open()
        self.books.happened(events.Started())
        for index in (0, 1):
            self.books.happened(events.Greeted(pb.Hello(worker=index, incarnation="0", pid=1)))

    def open(self):
        self.journal = Journal(self.path)
        self.job = coordinator_of(self.spec)
        self.journal.recover(self.job)
        self.books = Bookkeeper(self.job, self.journal, NobodyListens())
        self.books.carry_out = lambda deed: self.killed.append(deed.key) if isinstance(deed, Kill) else None

    async def live(self, seconds, *, talking):
        for _ in range(seconds):
            self.monotonic += 1.0
            self.date += 1.0
            for index in talking:
                self.books.told(("worker", index, "0"), pb.WorkerMessage(progress=pb.Progress()))
            self.books.happened(events.Ticked())
            await asyncio.sleep(0)


class NobodyListens:
    def wake_watchers(self):
        pass

    def send(self, key, message):
        pass


def test_a_date_that_is_set_kills_nobody_and_hides_nobody_who_hangs(tmp_path, monkeypatch):
    async def scene():
        desk = Desk(tmp_path / "journal.db", monkeypatch)
        for jump in (HOUR, DAY, -2 * DAY, -HOUR):
            desk.date += jump
            await desk.live(5, talking=(0, 1))
        assert not desk.killed
        await desk.live(29, talking=(0,))
        assert not desk.killed
        desk.date -= DAY
        await desk.live(2, talking=(0,))
        assert desk.killed == [("worker", 1, "0")]
        last = desk.job.picture.events[-1]
        assert "worker-1 has been silent" in last.text and last.time == pytest.approx(desk.date, abs=1)

    asyncio.run(scene())


def test_a_machine_that_sleeps_kills_nobody(tmp_path, monkeypatch):
    async def scene():
        desk = Desk(tmp_path / "journal.db", monkeypatch)
        for pause in (HOUR, 40.0, DAY):
            desk.monotonic += pause
            desk.date += pause
            desk.books.happened(events.Ticked())  # before anyone could say anything
            await desk.live(5, talking=(0, 1))
        assert not desk.killed

    asyncio.run(scene())


@pytest.mark.parametrize("monotonic", [3.0, 10 * DAY])
def test_another_master_knows_how_late_it_is_also_on_another_machine(tmp_path, monkeypatch, monotonic):
    async def scene():
        desk = Desk(tmp_path / "journal.db", monkeypatch)
        await desk.live(50, talking=(0, 1))
        desk.books.happened(events.Scaled(1))
        await desk.live(40, talking=(0, 1))  # of the 60 seconds to leave
        desk.journal._database.close()
        desk.monotonic, desk.date = monotonic, desk.date + DAY
        desk.open()
        desk.books.happened(events.Recovered((W0, ("worker", 1, "0"))))
        await desk.live(19, talking=(0, 1))
        assert not desk.killed
        await desk.live(3, talking=(0, 1))
        assert ("worker", 1, "0") in desk.killed and W0 not in desk.killed

    asyncio.run(scene())


def test_dates_are_for_people_and_seconds_for_the_job():
    play = Play()
    play.join(W0)
    assert play.job.started_at > 1_000_000_000 > play.job.running_since > 0
    play.run()
    assert play.job.finished_at == play.job.date > 1_000_000_000


def test_a_supervisor_counts_the_silence_of_its_master_by_its_own_looks():
    silence = Silence(0.0)
    sign, now = 1_700_000_000.0, 0.0
    for jump in (HOUR, -DAY, 0.5):  # of the date, and with it of the sign of life
        sign, now = sign + jump, now + 1.0
        assert silence.seconds(sign, now) == 0.0
    assert silence.seconds(sign, now + HOUR) <= 3.0, "both were stopped"
    now += HOUR
    assert max(silence.seconds(sign, now + tick * 0.5) for tick in range(70)) > HUNG_SECONDS
