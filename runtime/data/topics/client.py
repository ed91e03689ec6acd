"""Connections to the brokers of a topic."""

from __future__ import annotations

import os
from typing import Any

from elasticdl_nb.runtime.data.topics.address import SECRETS, Topic
from elasticdl_nb.runtime.errors import DataError, OptionError

TIMEOUT = 5.0
"""Seconds that brokers have for an answer."""


class Unreachable(DataError):
    """The brokers do not answer, which may pass."""


def library() -> Any:
    """Return the package confluent_kafka; raise OptionError if it is not installed."""
    try:
        import confluent_kafka
    except ImportError:
        raise OptionError("data", 'reading kafka:// needs the extra kafka: pip install "elasticdl_nb[kafka]"') from None
    return confluent_kafka


class Client:
    """One connection, which is made when it is first needed; to be used by one thread at a time."""

    def __init__(self, topic: Topic, **settings: Any) -> None:
        self._topic, self._settings = topic, settings
        self._consumer: Any = None
        self.problem = ""
        """What librdkafka has reported last, as that no broker can be reached."""

    @property
    def consumer(self) -> Any:
        """The consumer, which belongs to no group and commits nothing by itself."""
        if self._consumer is None:
            kafka = library()
            try:
                self._consumer = kafka.Consumer(self._configuration())
            except kafka.KafkaException as error:
                raise OptionError("data", f"{self._topic.url}: {_text(error)}") from None
        return self._consumer

    def _configuration(self) -> dict[str, Any]:
        secrets = {key: os.environ[name] for key, name in SECRETS.items() if os.environ.get(name)}
        return {
            "queued.max.messages.kbytes": 32768,
            **dict(self._topic.settings),
            **secrets,
            "bootstrap.servers": self._topic.servers,
            # Required, though nothing is subscribed to: offsets are the job's own.
            "group.id": self._topic.group or "elasticdl",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "allow.auto.create.topics": False,
            "fetch.wait.max.ms": 100,
            "reconnect.backoff.max.ms": 2000,
            "log_level": 2,
            "error_cb": self._failed,
            **self._settings,
        }

    def _failed(self, error: Any) -> None:
        self.problem = str(error.str())

    def partitions(self) -> list[int]:
        """Return the numbers of the topic's partitions; raise DataError if there is no such topic."""
        kafka = library()
        try:
            found = self.consumer.list_topics(self._topic.name, timeout=TIMEOUT).topics[self._topic.name]
        except kafka.KafkaException as error:
            raise self._unreachable(error) from None
        if found.error is not None:
            if found.error.code() == kafka.KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise DataError(f"{self._topic.url}: there is no such topic")
            raise DataError(f"{self._topic.url}: {found.error.str()}")
        return sorted(found.partitions)

    def watermarks(self, partition: int) -> tuple[int, int]:
        """Return the first offset that is there, and the one after the last that can be read."""
        kafka = library()
        place = kafka.TopicPartition(self._topic.name, partition)
        try:
            low, high = self.consumer.get_watermark_offsets(place, timeout=TIMEOUT)
        except kafka.KafkaException as error:
            raise self._unreachable(error) from None
        return low, high

    def at_time(self, partition: int, milliseconds: int) -> int | None:
        """Return the offset of the first record that is not older than this; None if all are."""
        kafka = library()
        place = kafka.TopicPartition(self._topic.name, partition, milliseconds)
        try:
            (found,) = self.consumer.offsets_for_times([place], timeout=TIMEOUT)
        except kafka.KafkaException as error:
            raise self._unreachable(error) from None
        return None if found.offset < 0 else int(found.offset)

    def commit(self, offsets: dict[int, int]) -> None:
        """Tell the group how far the job is, for tools that show that, without waiting for the brokers."""
        kafka = library()
        places = [kafka.TopicPartition(self._topic.name, number, offset) for number, offset in offsets.items()]
        try:
            self.consumer.commit(offsets=places, asynchronous=True)
        except kafka.KafkaException as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Any) -> Unreachable:
        return Unreachable(f"{self._topic.url}: {self.problem or _text(error)}")

    def close(self) -> None:
        """End the connection."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None


def _text(error: Any) -> str:
    """Return what a KafkaException says."""
    return str(error.args[0].str()) if error.args and hasattr(error.args[0], "str") else str(error)
