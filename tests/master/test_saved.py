"""Which checkpoints a job can go back to."""

import asyncio
import os

import pytest
from play import W0, Play

from elasticdl_nb.runtime.master.decisions import events
from elasticdl_nb.runtime.master.decisions.actions import CommitCheckpoint, DiscardCheckpoint, PruneCheckpoints
from elasticdl_nb.runtime.master.decisions.saved import Saved
from elasticdl_nb.runtime.master.executor import Executor
from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage import checkpoints
from elasticdl_nb.runtime.storage.jobfolder import JobFolder


def steps(saved):
    return [one.step for one in saved.complete]


def test_a_job_can_go_back_to_those_that_exist():
    saved = Saved(3, "")
    for step, kept in ((1, "1"), (2, "12"), (3, "123"), (4, "134"), (5, "145"), (6, "")):
        saved.commit(f".{step}", step, {}, sealed=True)
        assert saved.committed(f".{step}", str(step), list(kept))
    assert steps(saved) == [4, 5, 6], "if nothing is said of the others, the newest count"
    state = journal.State()
    saved.save(state)
    other = Saved(3, "")
    other.load(state)
    assert steps(other) == [4, 5, 6]


def test_what_was_completed_meanwhile_stays():
    saved = Saved(3, "")
    for step in (1, 2):
        saved.commit(f".{step}", step, {}, sealed=True)
    assert saved.committed(".2", "2", ["2"])
    assert saved.committed(".1", "1", ["1"])
    assert steps(saved) == [1, 2]


class DiskPlay(Play):
    """A Local job whose checkpoints are on the disk; what was done there is told when the test wants it."""

    def __init__(self, directory, **options):
        self.directory, self.told = directory, []
        folder = JobFolder.create(JobSpec.create("train", model_def="m", data="f", checkpoint_dir=directory, **options))
        self.identity = folder.identity
        self.executor = Executor(
            folder, folder.spec(), None, "", spawn=asyncio.run, happened=self.told.append
        )  # fmt: skip
        super().__init__(records=100, checkpoint_dir=directory, **options)

    def act(self):
        kinds = (CommitCheckpoint, DiscardCheckpoint, PruneCheckpoints)
        deeds = [action for action in self.job.actions if isinstance(action, kinds)]
        self.job.actions[:] = [action for action in self.job.actions if not isinstance(action, kinds)]
        for deed in deeds:
            self.executor.carry_out(deed)
        super().act()

    def write(self, step, shares=None):
        made = checkpoints.begin(self.directory, step, self.identity)
        if shares is None:
            (made / "rows").write_text(f"{step}")
        else:
            os.link(self.directory / f"step-{shares:09d}" / "rows", made / "rows")
        checkpoints.seal(made, step, self.identity)
        self.say(W0, checkpoint_ready={"step": step, "path": os.fspath(made)})

    def tell(self):
        while self.told:
            self.happened(self.told.pop(0))
        on_disk = [os.fspath(path) for path in checkpoints.completed(self.directory)]
        assert [one.path for one in self.job.saved.complete] == on_disk
        return steps(self.job.saved)


@pytest.mark.parametrize(("keep", "before", "after"), [(1, [2], [3]), (2, [1, 2], [1, 3]), (0, [1, 2], [1, 2, 3])])
def test_none_makes_room_for_one_that_does_not_count_yet(tmp_path, monkeypatch, keep, before, after):
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    for counts in (False, True):
        play = DiskPlay(tmp_path / f"{counts}", keep_checkpoint_max=keep)
        play.join(W0)
        for step in (1, 2):
            play.write(step)
            play.tell()
        play.write(3, shares=2)
        if not counts:  # the worker dies, so the job goes back, before the master knows that it is complete
            play.happened(events.Exited(W0, -9))
        assert play.tell() == (after if counts else before)
