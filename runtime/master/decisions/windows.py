"""Windows of records that were predicted before they were learnt (prequential evaluation). A plain object.

Tasks are added in the order in which workers report them, each once. The first with which a window has its number of
records ends it; then a task asks for the values of its summed states, because only workers know the metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from elasticdl_nb.runtime.master.decisions.alarms import Alarms
from elasticdl_nb.runtime.master.decisions.evaluations import EvaluationRound, States
from elasticdl_nb.runtime.master.decisions.task import Task
from elasticdl_nb.runtime.master.decisions.taskqueue import TaskQueue
from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.states import read_states


class Windows:
    """All windows of a job, of `size` records each, or none if that is 0.

    Of `tested` records it knows the predictions; `untested` ones were learnt by a worker that died before it could
    report them.
    """

    def __init__(self, size: int, bounds: Sequence[str] = ()) -> None:
        self.size, self.alarms = size, Alarms(bounds)
        self.tested = self.untested = 0
        self._open = EvaluationRound(1, 0)
        self._closed: dict[int, tuple[EvaluationRound, int]] = {}

    def __bool__(self) -> bool:
        """Whether the job has windows at all."""
        return self.size > 0

    def trained(self, done: pb.TaskDone, queue: TaskQueue) -> None:
        """A training task is done: add what was predicted of it, and close the window if it is full."""
        self.untested += done.records - done.tested
        if done.tested:
            self.tested += done.tested
            self._open.task_done(read_states(done.states), done.tested, done.step)
        if self._open.records >= self.size:
            self.close(queue)

    def close(self, queue: TaskQueue) -> bool:
        """End the open window, unless it is empty; return whether it was not."""
        closed = self._open
        if not closed.records:
            return False
        self._closed[closed.number] = closed, self.tested
        self._open = EvaluationRound(closed.number + 1, 0)
        queue.add("window", evaluation=closed.number)
        return True

    def states(self, task: Task) -> States | None:
        """What a task for a window's values needs; None for any other task."""
        return self._closed[task.evaluation][0].states if task.kind == "window" else None

    def step(self, task: Task) -> int:
        """The model's step at the end of a task's window; 0 for any other task."""
        return self._closed[task.evaluation][0].step if task.kind == "window" else 0

    def valued(self, task: Task, done: pb.TaskDone, date: float) -> pb.Window:
        """Return a window, whose values are known now."""
        sums, tested = self._closed.pop(task.evaluation)
        return pb.Window(
            number=sums.number, step=sums.step, tested=tested, time=date, records=sums.records, metrics=done.metrics
        )  # fmt: skip

    # ------------------------------------------------------------ checkpoints

    def snapshot(self) -> dict[str, Any]:
        """State as JSON values."""
        closed = [[_as_json(sums), tested] for sums, tested in self._closed.values()]
        return {"open": _as_json(self._open), "closed": closed, "tested": self.tested, "untested": self.untested}

    def restore(self, snapshot: dict[str, Any] | None, queue: TaskQueue) -> int:
        """Go back to a snapshot, or to the beginning; return how many windows had ended by then."""
        state = snapshot or Windows(self.size).snapshot()
        self.tested, self.untested = state["tested"], state["untested"]
        self._open = _from_json(state["open"])
        self._closed = {sums[0]: (_from_json(sums), tested) for sums, tested in state["closed"]}
        for number in self._closed:
            queue.add("window", evaluation=number)
        return self._open.number - 1

    # ------------------------------------------------------------ the journal

    def to_message(self) -> journal.Windows:
        """Return everything that does not follow from the job's options, in the journal's form."""
        closed = [journal.ClosedWindow(sums=sums.to_message(), tested=tested) for sums, tested in self._closed.values()]
        return journal.Windows(
            open=self._open.to_message(), closed=closed, tested=self.tested, untested=self.untested,
            alarms=self.alarms.states, watched=self.alarms.watched,
        )  # fmt: skip

    def load(self, message: journal.Windows) -> None:
        """Restore the state from a message made by `to_message`."""
        self.tested, self.untested = message.tested, message.untested
        self.alarms.load(message.alarms, message.watched)
        self._open = EvaluationRound.from_message(message.open)
        rounds = [(EvaluationRound.from_message(one.sums), one.tested) for one in message.closed]
        self._closed = {sums.number: (sums, tested) for sums, tested in rounds}


def _as_json(sums: EvaluationRound) -> list[Any]:
    states = {
        name: [[list(array.shape), array.ravel().tolist()] for array in arrays] for name, arrays in sums.states.items()
    }
    return [sums.number, sums.step, sums.records, states]


def _from_json(value: list[Any]) -> EvaluationRound:
    number, step, records, states = value
    arrays = {
        name: [np.array(values, np.float64).reshape(shape) for shape, values in of_name]
        for name, of_name in states.items()
    }
    return EvaluationRound(number, 0, step, records, arrays)
