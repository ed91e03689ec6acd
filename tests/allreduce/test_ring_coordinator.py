"""The coordinator of all-reduce jobs with workers that are played: any order of joins, deaths and half-made steps."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ring_play import RingPlay, every_record
from twins import Keeping

from elasticdl_nb.runtime.master.decisions import events
from elasticdl_nb.runtime.protocol import master_pb2 as pb


def texts(play: RingPlay) -> list[str]:
    return [event.text for event in play.job.picture.events]


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_workers_train_evaluate_and_finish_together(workers: int) -> None:
    play = RingPlay(workers=workers, records=20, num_epochs=2, validation=7)
    play.run()
    assert play.job.phase == pb.SUCCEEDED
    assert play.result == every_record(2, 20)
    assert [e.metrics["count"] for e in play.job.picture.evaluations] == [7.0, 7.0]
    assert texts(play).count("training together: " + ", ".join(f"worker-{n}" for n in range(workers))) == 1


def test_a_dead_worker_s_records_are_neither_lost_nor_used_again() -> None:
    play = RingPlay(records=30)
    for key in list(play.members):
        play.join(key)
    for _ in range(2):
        assert play.step()
    play.die(("worker", 0, "0"))
    assert play.job.rendezvous.workers == [1, 2], "the others go on at once"
    assert play.job.queue.held(1) and play.step()
    play.run()
    assert play.result == every_record(1, 30)
    assert play.job.rollbacks == 0 and play.job.queue.records_done["train"] == 30


def test_a_worker_that_asks_again_whether_there_is_work_is_answered() -> None:
    play = RingPlay(records=3, workers=2)
    for key in list(play.members):
        play.join(key)
    key, idle = next((key, member) for key, member in play.ring() if not member.tasks)
    assert idle.without_work == 1
    play.say(key, want=pb.Want(tasks=2))
    assert idle.without_work == 2


def test_a_step_that_only_some_have_made_is_taken_over_by_the_others() -> None:
    play = RingPlay(records=30)
    for key in list(play.members):
        play.join(key)
    play.step()
    play.step(reaches=2)
    play.die(("worker", 0, "0"))
    ring = play.ring()
    assert [member.step for _, member in ring] == [2, 2]
    play.run()
    assert play.result == every_record(1, 30)


def test_without_anyone_who_has_the_model_the_job_goes_back_to_its_checkpoint() -> None:
    play = RingPlay(records=40, workers=2)
    for key in list(play.members):
        play.join(key)
    for _ in range(4):
        play.step()
    play.checkpoint()
    for _ in range(3):
        play.step()
    for key, _ in play.living():
        play.die(key)
    play.run()
    assert play.job.rollbacks == 1
    assert any("from the checkpoint of step 4" in text for text in texts(play))
    assert play.result == every_record(1, 40)


def test_joins_are_gathered() -> None:
    play = RingPlay(records=400, workers=1)
    play.join(("worker", 0, "0"))
    play.step()
    play.happened(events.Scaled(11))
    keys = [key for key, member in play.members.items() if member is None]
    assert len(keys) == 10
    for key in keys:
        assert play.step(), "nobody waits for those who come"
        play.join(key)
    assert play.job.rendezvous.generation == 2 and len(play.job.rendezvous.workers) == 11
    play.run()
    assert play.result == every_record(1, 400)


def test_a_newcomer_does_not_wait_for_ever_for_others() -> None:
    play = RingPlay(records=100, workers=2)
    play.join(("worker", 0, "0"))
    assert not play.ring()
    play.pass_time(61.0)
    assert play.ring() and play.job.rendezvous.workers == [0]


def test_workers_that_are_let_go_leave_the_rest_of_their_tasks_to_others() -> None:
    play = RingPlay(records=60)
    for key in list(play.members):
        play.join(key)
    play.step()
    play.happened(events.Scaled(1))
    assert play.job.rendezvous.workers == [0] and len(play.living()) == 1
    play.run()
    assert play.result == every_record(1, 60)


def test_below_min_workers_it_waits_and_says_so() -> None:
    play = RingPlay(records=60, workers=2, min_workers=2)
    for key in list(play.members):
        play.join(key)
    play.step()
    play.die(("worker", 1, "0"))
    assert not play.step()
    assert play.job.waits_for == "1 more worker(s), as min_workers=2"
    assert "training waits for 1 more worker(s), as min_workers=2" in texts(play)
    play.join(("worker", 1, "1"))
    assert play.step() and not play.job.waits_for
    play.run()
    assert play.result == every_record(1, 60)


def test_who_gets_which_task_does_not_depend_on_who_asks_first() -> None:
    def tasks(order: list[int]) -> dict[int, list[int]]:
        play = RingPlay(records=90, workers=2)
        got: dict[int, list[int]] = {0: [], 1: []}
        for number in order:
            play.join(("worker", number, "0"))
        while not play.job.is_over:
            for key, member in sorted(play.living(), reverse=order[0] == 1):
                got[key[1]] += [task.index for task in member.tasks if task.index not in got[key[1]]]
            if not play.other_work() and not play.step():
                play.pass_time(1.0)
        return got

    assert tasks([0, 1]) == tasks([1, 0])


def test_a_failing_task_is_tried_again_without_what_is_in_the_model() -> None:
    play = RingPlay(records=30, workers=2)
    for key in list(play.members):
        play.join(key)
    play.step()
    key, member = play.ring()[1]
    task = member.tasks.popleft()
    failure = pb.Failure(message="TimeoutError: slow disk", transient=True)
    play.say(key, task_failed=pb.TaskFailed(id=task.id, attempt=task.attempt, failure=failure, records=1))
    member.used = 0
    play.run()
    assert play.result == every_record(1, 30)


def test_max_step_counts_steps_of_all_together() -> None:
    play = RingPlay(records=30, workers=2, max_step=4)
    assert play.job.steps_total == 4 and play.job.records_total == 30


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_record_is_in_the_model_exactly_once_whatever_happens(data: st.DataObject) -> None:
    records, epochs = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 2))
    workers = data.draw(st.integers(1, 4))
    play = RingPlay(
        records=records, num_epochs=epochs, workers=workers, validation=data.draw(st.integers(0, 4)),
        min_workers=data.draw(st.integers(1, min(2, workers))),
    )  # fmt: skip
    disturb(play, data.draw(st.integers(0, 60)), lambda some: data.draw(st.sampled_from(some)))
    if play.job.phase != pb.FAILED:
        play.run()
    assert play.job.phase == pb.SUCCEEDED
    assert play.result == every_record(epochs, records)
    assert play.job.queue.records_done["train"] == records * epochs


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("skip", [True, False])
def test_a_task_that_kills_its_workers_is_found_among_all_that_they_held(workers: int, skip: bool) -> None:
    play = RingPlay(records=60, workers=workers, num_epochs=2, skip_failed_tasks=skip)
    play.poison = {31}
    play.run()
    assert all(worker.kills_in_a_row == 0 for worker in play.job.workers)
    if not skip:
        assert play.job.phase == pb.FAILED
        assert "like the 2 process(es) before it, with records 30 to 32 of f" in play.job.failure.message
        return
    assert play.job.phase == pb.SUCCEEDED
    aside = play.job.queue.suspects.aside.values()
    assert [one.spans for one in aside] == [(("f", 30, 33),)] * 2
    assert play.result == {use: 1 for use in every_record(2, 60) if use[1] not in (30, 31, 32)}
    assert sum(one.records for one in aside) == 6


HAPPENINGS = ["join", "step", "step", "step", "half", "die", "checkpoint", "damage", "tick", "scale", "master", "work"]


def disturb(play: RingPlay, times: int, choose: Callable[[Sequence[Any]], Any]) -> None:
    for _ in range(times):
        if play.job.is_over:
            break
        match choose(HAPPENINGS):
            case "join":
                if coming := [key for key, member in play.members.items() if member is None]:
                    play.join(choose(coming))
            case "step":
                play.step()
            case "half":
                ranks = play.ring()
                if len(ranks) > 1:
                    play.step(reaches=choose(range(len(ranks))))
                    victim = choose([key for key, _ in ranks])
                    if victim in play.members:
                        play.die(victim)
                    for key, member in ranks:  # the rest find out that the round is broken
                        newest = play.job.rendezvous.generation == member.ring.generation
                        if play.members.get(key) is member and member.in_ring and newest and not play.ring():
                            play.halt(key)
            case "die":
                if play.members:
                    play.die(choose(list(play.members)))
            case "checkpoint":
                play.checkpoint()
            case "damage":
                play.damaged |= {choose(sorted(play.saved))} if play.saved else set()
            case "tick":
                play.pass_time(choose([0.5, 6.0, 70.0]))
            case "scale":
                workers = choose(range(play.job.spec.min_workers, 6))
                if not play.job.scaling_problem(workers):
                    play.happened(events.Scaled(workers))
            case "master":
                play.job.another_master()
            case "work":
                play.other_work()


def test_every_attribute_is_kept_for_another_master() -> None:
    keeping = Keeping()
    for seed in range(6):
        play = RingPlay(records=100, num_epochs=2, workers=3, validation=4)
        play.job.keeping = keeping
        disturb(play, 60, random.Random(seed).choice)
    play = RingPlay(records=7, workers=3)
    play.job.keeping = keeping
    for key in list(play.members):
        play.join(key)
    play.happened(events.Scaled(2))
    play.run()
    assert not keeping.forgotten("RingCoordinator", "Rendezvous", "Report")
