"""Which checkpoints a job can go back to."""

from elasticdl_nb.runtime.master.decisions.saved import Saved
from elasticdl_nb.runtime.protocol import journal_pb2 as journal


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
