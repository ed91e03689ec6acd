"""Every record of every task has its effect exactly once, whoever sends it, how often, and in which order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from elasticdl_nb.runtime.parameters.effects import Effects, EpochPositions, TaskPart, Verdict

BATCH = 4


def apply(effects: Effects, part: TaskPart) -> Verdict:
    verdict = effects.judge(part)
    if verdict is Verdict.APPLY:
        effects.take(part)
    return verdict


def test_the_parts_of_a_task_count_in_their_order_and_once() -> None:
    effects = Effects()
    assert apply(effects, TaskPart(0, 7, 0, 4)) is Verdict.APPLY
    assert apply(effects, TaskPart(0, 7, 0, 4)) is Verdict.KNOWN
    assert apply(effects, TaskPart(0, 7, 8, 12)) is Verdict.GAP
    assert apply(effects, TaskPart(0, 7, 4, 8)) is Verdict.APPLY
    assert effects.position(0, 7) == 8
    assert effects.position(1, 7) == 0


def test_a_part_that_is_cut_in_another_way_is_not_taken() -> None:
    effects = Effects()
    apply(effects, TaskPart(0, 0, 0, 4))
    assert effects.judge(TaskPart(0, 0, 2, 6)) is Verdict.GAP


def test_a_complete_epoch_takes_nothing_and_costs_nothing() -> None:
    effects = Effects()
    apply(effects, TaskPart(0, 3, 0, 4))
    effects.complete_before(1)
    assert apply(effects, TaskPart(0, 3, 4, 8)) is Verdict.KNOWN
    assert effects.position(0, 3) is None
    assert list(effects.export()) == []


def test_a_checkpoint_keeps_the_positions() -> None:
    effects, other = Effects(), Effects()
    for index in (0, 200, 70):
        apply(effects, TaskPart(2, index, 0, index + 1))
    kept = list(effects.export())
    apply(effects, TaskPart(2, 0, 1, 9))  # what comes later does not show in it
    for one in kept:
        other.restore(EpochPositions(one.epoch, one.positions))
    assert [other.position(2, index) for index in (0, 70, 200, 201)] == [1, 71, 201, 0]


@given(
    tasks=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    servers=st.integers(1, 3),
    data=st.data(),
)
def test_workers_that_die_share_and_repeat_leave_each_record_used_once(tasks, servers, data) -> None:
    """Workers begin where the slowest server is, die after any message, and several may have the same task."""
    stores = [Effects() for _ in range(servers)]
    used = [[[0] * (BATCH * size) for size in tasks] for _ in range(servers)]
    late: list[tuple[int, TaskPart]] = []

    def send(server: int, part: TaskPart) -> None:
        if apply(stores[server], part) is Verdict.APPLY:
            for record in range(part.start, part.stop):
                used[server][part.index][record] += 1

    def work(index: int, most: int) -> None:
        """Send up to so many messages of a task; one that was sent may arrive now or much later."""
        start = min(store.position(0, index) or 0 for store in stores)
        for begin in range(start, BATCH * tasks[index], BATCH):
            for server in range(servers):
                if not most:
                    return
                most -= 1
                part = TaskPart(0, index, begin, begin + BATCH)
                if data.draw(st.booleans()):
                    send(server, part)
                else:
                    late.append((server, part))
                    return  # its connection delivers in order: nothing after it arrives before it

    for _ in range(data.draw(st.integers(0, 8))):
        work(data.draw(st.integers(0, len(tasks) - 1)), data.draw(st.integers(0, 6)))
        while late and data.draw(st.booleans()):
            send(*late.pop(data.draw(st.integers(0, len(late) - 1))))
    for index, size in enumerate(tasks):  # in the end each task finds a worker that lives
        for begin in range(0, BATCH * size, BATCH):
            for server in range(servers):
                send(server, TaskPart(0, index, begin, begin + BATCH))
    for server, part in late:
        send(server, part)
    assert all(count == 1 for one in used for task in one for count in task)
