"""The picture of a job stays small, however long the job and whatever happens in it."""

from __future__ import annotations

from elasticdl_nb.runtime.control.status import merge
from elasticdl_nb.runtime.master import report
from elasticdl_nb.runtime.master.decisions.epochs import Epochs
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


def ended(epoch: int, step: int = 1, records: int = 1, **logs: float) -> pb.EpochEnded:
    return pb.EpochEnded(epoch=epoch, step=step, records=records, logs=logs)


def test_what_workers_say_of_an_epoch_is_one_mean() -> None:
    picture, mark, epochs = Picture(), Mark(), Epochs()
    epochs.heard("a", ended(0, 4, 10, loss=9.0))
    epochs.heard("a", ended(0, 10, 30, loss=2.0))
    picture.set_epoch(epochs.whole(0))
    full, mark = picture.fill(seen := pb.JobStatus(), mark)
    picture.set_epoch(ended(1, 20, 40, loss=1.0, val_loss=3.0))
    epochs.heard("b", ended(0, 12, 10, loss=6.0, accuracy=0.5))
    assert epochs.whole(0, without="b") == ended(0, 10, 30, loss=2.0) and epochs.whole(1) is None
    picture.set_epoch(epochs.whole(0))
    status = pb.JobStatus()
    full, mark = picture.fill(status, mark)
    seen = merge(seen, pb.JobUpdate(full=full, status=status))
    assert list(seen.history) == picture.history
    assert [(one.epoch, one.step, one.records, dict(one.logs)) for one in seen.history] == [
        (0, 12, 40, {"loss": 3.0, "accuracy": 0.5}), (1, 20, 40, {"loss": 1.0, "val_loss": 3.0}),
    ]  # fmt: skip
    picture.roll_back(15)
    assert [one.epoch for one in picture.history] == [0]
    assert Picture.from_message(picture.to_message()) == picture


def test_history_stays_small() -> None:
    picture = Picture()
    for epoch in range(5000):
        picture.set_epoch(ended(epoch, epoch, loss=1.0))
    epochs = [one.epoch for one in picture.history]
    assert MAX_EVALUATIONS // 2 <= len(epochs) <= MAX_EVALUATIONS and epochs == sorted(epochs) and epochs[-1] == 4999


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
