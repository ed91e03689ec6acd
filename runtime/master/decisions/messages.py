"""Tasks as messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from elasticdl_nb.runtime.master.decisions.task import KINDS, Task
from elasticdl_nb.runtime.master.decisions.taskqueue import TaskQueue
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.states import state_messages


def task_message(
    task: Task,
    *,
    states: Mapping[str, Sequence[np.ndarray]] | None = None,
    parts: int = 0,
    generation: int = 0,
    oldest_epoch: int = 0,
    border: pb.Border | None = None,
    step: int = 0,
    queue: TaskQueue | None = None,
) -> pb.Task:
    """Return the task in the form that workers receive."""
    return pb.Task(
        id=task.id,
        attempt=task.attempt,
        kind=KINDS[task.kind],
        ranges=[pb.Range(path=path, start=start, end=end) for path, start, end in task.spans],
        epoch=task.epoch,
        index=task.index,
        evaluation=task.evaluation,
        summarize=task.summarize,
        states=state_messages(states) if states else None,
        parts=parts,
        ends_epoch=task.ends_epoch,
        generation=generation,
        skip=task.skip,
        oldest_epoch=oldest_epoch,
        border=border,
        step=step,
        records=queue.records_done["train"] if queue and task.kind == "finish" else 0,
        last=queue.learnt.messages() if queue and task.kind == "finish" else (),
    )


def skips(places: Iterable[pb.Place]) -> dict[int, int]:
    """Return how many records of each task are in the model, by task number."""
    return {place.task: place.records for place in places}
