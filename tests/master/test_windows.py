"""Windows of records that were tested before they were learnt: each record is in one, whatever dies."""

import random

import pytest
from play import W0, Play, disturb

from elasticdl_nb.runtime.control.status import merge
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.master.decisions.alarms import Alarms
from elasticdl_nb.runtime.master.decisions.picture import MAX_WINDOWS, Mark, Picture
from elasticdl_nb.runtime.master.report import update
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec

RECORDS = 24


def records_of(window):
    return [record for record in range(RECORDS) if int(window.metrics["which"]) >> record & 1]


@pytest.mark.parametrize("seed", range(30))
def test_each_record_is_in_one_window_however_often_it_was_redone(seed):
    choose = random.Random(seed).choice
    play = Play(records=RECORDS, prequential=True, prequential_window=5, shuffle=False)
    play.untestable = {4, 17} if seed % 2 else set()
    disturb(play, 60, choose)
    play.damaged.clear()
    play.run()
    windows = play.job.picture.windows
    assert [window.number for window in windows] == list(range(1, len(windows) + 1))
    records = [record for window in windows for record in records_of(window)]
    assert records == [record for record in range(RECORDS) if record not in play.untestable]
    assert play.job.windows.untested == len(play.untestable)
    # Tasks have two records, so a window of five ends with its third task.
    assert all(5 <= window.records <= 6 for window in windows[:-1])
    assert [window.records for window in windows] == [len(records_of(window)) for window in windows]
    assert windows[-1].tested == len(records)


def test_the_last_window_has_its_values_before_the_model_is_written_and_workers_report_in_any_order():
    play = Play(records=7, prequential=True, prequential_window=4, num_workers=2, num_ps=1)
    assert play.job.windows.size == 4
    alone = Play(records=7, prequential=True, prequential_window=100)
    kinds = alone.run()
    assert kinds[-2:] == [pb.WINDOW, pb.FINISH]
    (window,) = alone.job.picture.windows
    assert (window.records, window.tested, window.number) == (7, 7, 1)


@pytest.mark.parametrize(("options", "tasks"), [({}, 10), ({"shuffle": False}, 20)])
def test_tasks_are_no_longer_than_windows_unless_that_would_change_the_order(options, tasks):
    options = {"records": 60, "num_minibatches_per_task": 6, **options}
    plain = Play(**options).job.queue.plan
    tested = Play(**options, prequential=True, prequential_window=3).job.queue.plan
    orders = [[record for index in plan.order(0) for _, *span in plan.pieces[index] for record in range(*span)]
              for plan in (plain, tested)]  # fmt: skip
    assert orders[0] == orders[1] and len(tested.pieces) == tasks


def test_the_model_is_not_tested_by_two_workers_at_once():
    play = Play(records=8, prequential=True)
    play.join(W0)
    task = play.job.queue.held(0)[0]
    assert not play.job._may_share(task)
    play = Play(records=8)
    play.join(W0)
    assert play.job._may_share(play.job.queue.held(0)[0])


def test_very_many_windows_are_thinned_and_watchers_see_what_is_there():
    picture, seen, mark = Picture(), pb.JobStatus(), Mark()
    for number in range(1, 2 * MAX_WINDOWS):
        picture.add_window(pb.Window(number=number, records=1))
        status = pb.JobStatus()
        full, mark = picture.fill(status, mark)
        seen = merge(seen, pb.JobUpdate(full=full, status=status))
        if number % 97 == 0:
            assert [one.number for one in seen.windows] == [one.number for one in picture.windows]
    assert len(picture.windows) <= MAX_WINDOWS and picture.windows[-1].number == 2 * MAX_WINDOWS - 1
    # Values of an earlier window that come late are in their place; the same ones again replace it.
    picture = Picture()
    for number in (1, 3, 2, 3):
        picture.add_window(pb.Window(number=number))
    assert [one.number for one in picture.windows] == [1, 2, 3]


def test_the_status_has_windows_and_counts_what_was_not_tested():
    play = Play(records=8, prequential=True, prequential_window=4)
    play.untestable = {0}
    play.run()
    answer, _ = update(play.job._original, play.now, 0.0, Mark(), name="j", pid=1)
    assert answer.status.records_untested == 1 and sum(one.records for one in answer.status.windows) == 7


def test_an_alarm_is_told_once_for_each_crossing():
    alarms = Alarms(["auc<0.7", "loss>1", "auc>0.95"])
    values = [(0.8, 0.5), (0.69, 0.5), (0.6, 2.0), (float("nan"), 2.0), (0.7, 1.0), (0.6, 0.1), (0.99, 0.1)]
    told = [
        [
            text.partition(":")[0]
            for _, text in alarms.watch(pb.Window(number=number, metrics={"auc": auc, "loss": loss}))
        ]
        for number, (auc, loss) in enumerate(values, 1)
    ]
    assert told == [
        [], ["alarm auc<0.7"], ["alarm loss>1"], [], ["no more alarm auc<0.7", "no more alarm loss>1"],
        ["alarm auc<0.7"], ["no more alarm auc<0.7", "alarm auc>0.95"],
    ]  # fmt: skip
    assert [(one.on, one.times, one.window) for one in alarms.states] == [(False, 2, 7), (False, 1, 5), (True, 1, 7)]
    # What the job learns again after it has gone back is no news.
    assert not list(alarms.watch(pb.Window(number=6, metrics={"auc": 0.1, "loss": 9.0})))


def test_alarms_are_messages_of_the_job_and_part_of_its_status():
    play = Play(records=8, prequential=True, prequential_window=2, shuffle=False, alarm="which>20, which<7")
    play.run()
    texts = [event.text for event in play.job.picture.events if "alarm" in event.text]
    assert texts == [
        "alarm which<7: which is 3 in window 1, which ends at step 2",
        "no more alarm which<7: which is 12 in window 2, which ends at step 4",
        "alarm which>20: which is 48 in window 3, which ends at step 6",
    ]
    answer, _ = update(play.job._original, play.now, 0.0, Mark(), name="j", pid=1)
    found = [(one.bound, one.on, one.times, one.value) for one in answer.status.alarms]
    assert found == [("which>20", True, 1, 48.0), ("which<7", False, 1, 12.0)]


@pytest.mark.parametrize(
    ("given", "bounds"),
    [
        ("auc<0.7", ("auc<0.7",)),
        (" log_loss > 0.60 ,auc< 7e-1", ("log_loss>0.6", "auc<0.7")),
        (["val top-5>1"], ("val top-5>1",)),
        ("auc", None), ("auc=0.7", None), ("auc<=0.7", None), ("auc<x", None), ("<0.7", None), ("auc<nan", None),
        ("0.5<auc<0.7", None), ("auc<0.7,auc<.7", None), (0.7, None),
    ],
)  # fmt: skip
def test_bounds_are_read(given, bounds):
    if bounds is None:
        with pytest.raises(OptionError, match=r"alarm: .* is not valid: "):
            JobSpec.create("train", model_def="m", data="f", prequential=True, alarm=given)
    else:
        spec = JobSpec.create("train", model_def="m", data="f", prequential=True, alarm=given)
        assert spec.alarm == bounds and JobSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_epochs": 2}, "num_epochs: given together with prequential"),
        ({"distribution_strategy": "AllreduceStrategy"}, "prequential: has an effect only with"),
        ({"prequential": False, "prequential_window": 5}, "prequential_window: has an effect only with prequential"),
        ({"prequential_window": 0}, "prequential_window: 0 is not valid: expected a whole number of at least 1"),
    ],
)
def test_what_does_not_go_with_it_is_refused(options, said):
    with pytest.raises(OptionError, match=said):
        JobSpec.create("train", **{"model_def": "m", "data": "f", "prequential": True, **options})
