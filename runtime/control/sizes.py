"""The largest message to a job's master: it follows from what the job's processes have to say."""

from __future__ import annotations

from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.spec import JobSpec

PLAIN = 1 << 20
"""Bytes of what all processes say: greetings, tasks they hold, losses, errors with their tracebacks."""

METRICS = 64 << 20
"""Bytes of the states of an evaluation's metrics, which only the model's own code knows."""

SHARDS = 64 << 20
"""Bytes of the list of files and records that a custom data reader counts."""


class TooLargeForMaster(ElasticDLError):
    """A message that the master would refuse."""


def largest_to_master(spec: JobSpec) -> int:
    """Return the bytes of the largest message that the job's master takes."""
    evaluates = spec.kind == "evaluate" or bool(spec.validation_data or spec.validation_split)
    return PLAIN + METRICS * evaluates + SHARDS * bool(spec.custom_data_reader)


def check(message: str, size: int, spec: JobSpec) -> None:
    """Raise TooLargeForMaster if a message of this name and size is larger than that."""
    most = largest_to_master(spec)
    if size <= most:
        return
    what = {
        "task_done": "the states of the metrics are large; use metrics with smaller ones",
        "data_counted": "the custom data reader counts very many parts; let each have more records",
    }.get(message, "the texts in it are long")
    raise TooLargeForMaster(
        f"a message for the job's master ({message}) has {size / (1 << 20):,.1f} MiB, but {most >> 20} MiB are the "
        f"most that a job like this one may send: {what}"
    )
