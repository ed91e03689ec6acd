"""What stands for Kafka topics and their partitions where files have paths. Plain text, no I/O."""

from __future__ import annotations

from collections.abc import Sequence

SCHEME = "kafka://"


def is_topic(path: str) -> bool:
    """Whether a path is the URL of a Kafka topic, or stands for one of its partitions."""
    return path.startswith(SCHEME)


def any_topic(paths: Sequence[str]) -> bool:
    """Whether one of these paths is the URL of a Kafka topic."""
    return any(map(is_topic, paths))


def path_of(topic_url: str, partition: int) -> str:
    """Return the path of a partition."""
    return f"{topic_url}/{partition}"


def partition_of(path: str) -> int:
    """Return the number of the partition that a path stands for."""
    return int(path.rpartition("/")[2])


def name_of(path: str) -> str:
    """Return TOPIC/PARTITION: what a partition is called whatever its brokers are called."""
    return path.removeprefix(SCHEME).partition("/")[2]
