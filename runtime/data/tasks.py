"""Cutting files into tasks: the pieces of work that workers take."""

from __future__ import annotations

from collections.abc import Sequence

from elasticdl_nb.runtime.data.chunks import FileRecords
from elasticdl_nb.runtime.data.topics.names import is_topic

Range = tuple[str, int, int]
"""Records [start, end) of a file: (path, start, end)."""


def cut(files: Sequence[FileRecords], records_per_task: int) -> list[list[Range]]:
    """Cut files into tasks of `records_per_task` records each; only the last may be shorter.

    Where a file ends, the task continues in the next one, unless it is a partition of a topic, whose tasks are
    ranges of offsets. Every record is in one task, in the order of the files.
    """
    if records_per_task < 1:
        raise ValueError(f"records_per_task is {records_per_task}; expected at least 1")
    tasks: list[list[Range]] = []
    room = 0
    for file in files:
        start, last = file.start, file.start + file.records
        while start < last:
            if room == 0 or (start == file.start and is_topic(file.path)):
                tasks.append([])
                room = records_per_task
            end = min(last, start + room)
            tasks[-1].append((file.path, start, end))
            room -= end - start
            start = end
    return tasks
