"""Tasks, the pieces of work that workers take, and their form in the journal."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal, NamedTuple

from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.protocol import master_pb2 as pb

Span = tuple[str, int, int]
"""Records [start, end) of one file."""

TaskKind = Literal["train", "evaluate", "predict", "finish", "callbacks", "window"]


class Task(NamedTuple):
    """A piece of work for one worker; `index` is its place among the tasks cut from the same data.

    The first `skip` of its records, in the order in which workers read them, are already in the model.
    """

    id: int
    kind: TaskKind
    spans: tuple[Span, ...] = ()
    epoch: int = 0
    index: int = 0  # type: ignore[assignment]  # rather than tuple's method
    evaluation: int = 0
    summarize: bool = False
    ends_epoch: bool = False
    attempt: int = 0
    failures: int = 0
    skip: int = 0

    @property
    def records(self) -> int:
        """How many records it holds."""
        return sum(end - start for _, start, end in self.spans)


KINDS: dict[TaskKind, pb.TaskKind] = {
    "train": pb.TRAIN, "evaluate": pb.EVALUATE, "predict": pb.PREDICT, "finish": pb.FINISH,
    "callbacks": pb.CALLBACKS, "window": pb.WINDOW,
}  # fmt: skip
KINDS_OF = {number: kind for kind, number in KINDS.items()}


# A job may have hundreds of thousands of tasks: the journal stores each path once, and the rest in columns.


def pieces_message(pieces: Iterable[Sequence[Span]]) -> journal.Pieces:
    """Return lists of spans as one message."""
    paths: dict[str, int] = {}
    lengths: list[int] = []
    flat: list[int] = []
    for spans in pieces:
        lengths.append(len(spans))
        for path, start, end in spans:
            flat += paths.setdefault(path, len(paths)), start, end
    return journal.Pieces(paths=paths, lengths=lengths, spans=flat)


def pieces_of(message: journal.Pieces) -> list[list[Span]]:
    """Return the lists of spans from a message made by `pieces_message`."""
    flat = iter(message.spans)
    spans = iter([(message.paths[path], start, end) for path, start, end in zip(flat, flat, flat, strict=True)])
    return [[next(spans) for _ in range(length)] for length in message.lengths]


def tasks_message(tasks: Collection[Task]) -> journal.Tasks:
    """Return tasks as one message."""
    if not tasks:
        return journal.Tasks()
    columns: dict[str, Any] = dict(zip(Task._fields, zip(*tasks, strict=True), strict=True))
    columns["kind"] = [KINDS[kind] for kind in columns["kind"]]
    return journal.Tasks(**{**columns, "spans": pieces_message(columns["spans"])})


def tasks_of(message: journal.Tasks) -> list[Task]:
    """Return the tasks from a message made by `tasks_message`."""
    columns: dict[str, Any] = {name: getattr(message, name) for name in Task._fields}
    columns["kind"] = [KINDS_OF[kind] for kind in message.kind]
    columns["spans"] = map(tuple, pieces_of(message.spans))
    return [Task(*row) for row in zip(*columns.values(), strict=True)]
