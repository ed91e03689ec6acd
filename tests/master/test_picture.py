"""The picture of a job stays small, however long the job and whatever happens in it."""

from __future__ import annotations

from elasticdl_nb.runtime.control.status import merge
from elasticdl_nb.runtime.master import report
from elasticdl_nb.runtime.master.decisions.kinds import coordinator_of
from elasticdl_nb.runtime.master.decisions.picture import MAX_EVALUATIONS, MAX_TEXT, Mark, Picture
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec


def test_evaluations_are_thinned_out_and_watchers_see_the_same() -> None:
    picture, seen, mark = Picture(), pb.JobStatus(), Mark()
    for step in range(1, 32_001):
        picture.add_evaluation(pb.Evaluation(step=step, metrics={"accuracy": step / 32_000}, records=1000))
        if step % 7 == 0:
            status = pb.JobStatus()
            full, mark = picture.fill(status, mark)
            seen = merge(seen, pb.JobUpdate(full=full, status=status))
            assert seen.evaluations[-1].step == step
    steps = [evaluation.step for evaluation in picture.evaluations]
    assert MAX_EVALUATIONS // 2 <= len(steps) <= MAX_EVALUATIONS
    assert steps == sorted(steps) and steps[-1] == 32_000 and steps[0] < 200
    assert seen.ByteSize() < 100_000


def test_a_long_message_is_cut_and_says_so() -> None:
    picture = Picture()
    picture.add_event(0.0, "error", "worker-0", "x" * 1_000_000)
    text = picture.events[0].text
    assert len(text) < MAX_TEXT + 100 and text.endswith("(1,000,000 characters in all)")


def test_workers_that_are_gone_do_not_pile_up() -> None:
    spec = JobSpec.create("train", data="/x.csv", model_def="m", num_workers=2)
    coordinator = coordinator_of(spec)
    for _ in range(500):
        coordinator.workers.add()
    for member in list(coordinator.workers)[2:]:
        coordinator.workers.ended(member, "finished")
    update, _ = report.update(coordinator, 0.0, 0.0, Mark(), name="job", pid=1)
    states = [one.state for one in update.status.instances if one.role == "worker"]
    assert states.count("starting") == 2 and states.count("finished") == report.MOST_GONE
