"""The task queue: every record of every epoch exactly once, whatever happens to those who work."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdl_nb.runtime.data.chunks import FileRecords
from elasticdl_nb.runtime.data.tasks import cut
from elasticdl_nb.runtime.master.decisions.story import IllegalTransitionError
from elasticdl_nb.runtime.master.decisions.taskqueue import TaskQueue
from elasticdl_nb.runtime.master.decisions.training_plan import TrainingPlan


def queue_of(records=10, per_task=3, **plan):
    return TaskQueue(TrainingPlan(cut([FileRecords("f", records)], per_task), minibatch_size=1, **plan))


def finish(queue, worker=0):
    used = []
    while (task := queue.next(worker)) is not None:
        used += [(task.epoch, path, record) for path, start, end in task.spans for record in range(start, end)]
        queue.done(task.id, task.attempt, task.records)
    return used


def test_hands_out_every_record_of_every_epoch_once():
    queue = queue_of(records=10, per_task=3, num_epochs=2)
    assert Counter(finish(queue)) == {(epoch, "f", record): 1 for epoch in range(2) for record in range(10)}
    assert queue.idle
    assert queue.records_done["train"] == 20


def test_shuffles_the_tasks_of_each_epoch_differently_and_repeatably():
    orders = [[r for e, _, r in finish(queue_of(100, 1, num_epochs=2, seed=7)) if e == epoch] for epoch in (0, 1)]
    assert orders[0] != orders[1] != sorted(orders[1])
    assert orders[0] == [r for e, _, r in finish(queue_of(100, 1, num_epochs=2, seed=7)) if e == 0]
    assert [r for _, _, r in finish(queue_of(100, 1, shuffle=False))] == list(range(100))


def test_marks_the_last_task_of_each_epoch():
    queue = queue_of(10, 3, num_epochs=2)
    ends = []
    while (task := queue.next(0)) is not None:
        ends.append(task.ends_epoch)
        queue.done(task.id, task.attempt, task.records)
    assert ends == [False, False, False, True] * 2


@pytest.mark.parametrize("max_step", [1, 3, 7, 10, 15, 20, 99])
def test_max_step_cuts_the_plan_at_exactly_that_many_batches(max_step):
    queue = queue_of(10, 3, num_epochs=2, max_step=max_step)
    _, records, steps = queue.plan.totals()
    assert len(finish(queue)) == records == steps == min(max_step, 20)
    assert queue.idle


@given(records=st.integers(1, 20), per_task=st.integers(1, 7), epochs=st.integers(1, 4), batch=st.integers(1, 4),
       max_step=st.integers(0, 60))  # fmt: skip
def test_the_totals_are_what_will_be_handed_out(records, per_task, epochs, batch, max_step):
    pieces = cut([FileRecords("f", records)], per_task)
    queue = TaskQueue(TrainingPlan(pieces, epochs, batch, max_step))
    totals = queue.plan.totals()
    used = finish(queue)
    assert (queue.tasks_done["train"], len(used)) == totals[:2]


def test_the_totals_of_very_many_epochs_take_no_time():
    assert TrainingPlan(cut([FileRecords("f", 10)], 5), 10**12, 5).totals() == (2 * 10**12, 10**13, 2 * 10**12)


def test_a_dead_workers_tasks_go_back_without_counting_as_failures():
    queue = queue_of(6, 3, shuffle=False)
    first, second = queue.next(0), queue.next(1)
    assert [task.id for task in queue.lost(0)] == [first.id]
    again = queue.next(1)
    assert (again.id, again.attempt, again.failures) == (first.id, 2, 0)
    assert queue.done(first.id, first.attempt, 3) is None, "the dead worker's late result must not count"
    assert queue.done(again.id, again.attempt, 3) and queue.done(second.id, second.attempt, 3)
    assert queue.records_done["train"] == 6


def test_a_failed_task_comes_back_with_its_failures_counted():
    queue = queue_of(3, 3)
    for count in (1, 2, 3):
        task = queue.next(0)
        assert queue.failed(task.id, task.attempt).failures == count


def test_a_result_of_a_task_never_handed_out_is_an_error():
    with pytest.raises(IllegalTransitionError, match="never handed out"):
        queue_of().done(99, 1, 0)


def test_urgent_tasks_come_before_further_training():
    queue = queue_of(6, 3)
    queue.next(0)
    queue.add("evaluate", [("v", 0, 5)], evaluation=1)
    assert queue.next(0).kind == "evaluate"
    assert queue.next(0).kind == "train"


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_records_are_used_exactly_once_per_epoch_whatever_workers_do(data):
    files = [FileRecords(f"f{n}", size) for n, size in enumerate(data.draw(st.lists(st.integers(0, 9), max_size=4)))]
    epochs = data.draw(st.integers(1, 3))
    queue = TaskQueue(
        TrainingPlan(cut(files, data.draw(st.integers(1, 5))), num_epochs=epochs, minibatch_size=2, seed=1)
    )
    model: Counter = Counter()
    saved = (None, Counter())
    in_hand: dict[int, list] = {0: [], 1: [], 2: []}
    for _ in range(data.draw(st.integers(0, 60))):
        worker = data.draw(st.integers(0, 2))
        event = data.draw(st.sampled_from(["next", "next", "done", "done", "lost", "failed", "save", "restore"]))
        if event == "next" and (task := queue.next(worker)):
            in_hand[worker].append(task)
        elif event == "done" and in_hand[worker]:
            use(queue, in_hand[worker].pop(0), model)
        elif event == "failed" and in_hand[worker]:
            task = in_hand[worker].pop(0)
            queue.failed(task.id, task.attempt)
        elif event == "lost":
            queue.lost(worker)
            if data.draw(st.booleans()):
                for task in in_hand[worker]:  # a worker thought dead may still report
                    assert queue.done(task.id, task.attempt, task.records) is None
            in_hand[worker].clear()
        elif event == "save":
            saved = (queue.snapshot(), model.copy())
        elif event == "restore":
            queue.restore(saved[0])
            model = saved[1].copy()
            for tasks in in_hand.values():
                for task in tasks:
                    assert queue.done(task.id, task.attempt, task.records) is None
                tasks.clear()
    for tasks in in_hand.values():
        for task in tasks:
            use(queue, task, model)
    while (task := queue.next(0)) is not None:
        use(queue, task, model)
    assert queue.idle
    expected = {(e, f.path, r): 1 for e in range(epochs) for f in files for r in range(f.records)}
    assert model == expected
    assert queue.records_done["train"] == len(expected)


def use(queue, task, model):
    if queue.done(task.id, task.attempt, task.records):
        model.update((task.epoch, path, record) for path, start, end in task.spans for record in range(start, end))


def test_a_shared_task_goes_back_only_when_nobody_has_it_and_counts_once():
    queue = queue_of(3, 3)
    task = queue.next(0)
    assert queue.share(task.id, 0) is None
    assert queue.share(task.id, 1) is task and queue.shared(task.id)
    assert not queue.has_retries
    assert queue.lost(0) == [] and queue.next(2) is None
    queue = TaskQueue.from_message(queue.to_message(), queue.plan)
    assert queue.has_retries, "the first worker may have used a part of it, the second perhaps nothing yet"
    assert queue.share(task.id, 2) == task
    assert queue.done(task.id, task.attempt, 3) and queue.done(task.id, task.attempt, 3) is None
    assert not queue.has_retries
    assert queue.records_done["train"] == 3
