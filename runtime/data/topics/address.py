"""kafka:// URLs: which topic, how its records are read, and with which of librdkafka's settings."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from elasticdl_nb.runtime.data.topics.names import SCHEME, path_of
from elasticdl_nb.runtime.errors import OptionError, did_you_mean

FORMATS = ("json", "example", "bytes")

UNITS = {"s": 1000.0, "ms": 1.0, "us": 0.001}
"""What numbers of an event's time may be, and how many milliseconds they stand for."""

_SETTINGS = (
    "security.protocol", "sasl.mechanism", "ssl.ca.location", "ssl.certificate.location", "ssl.key.location",
    "ssl.endpoint.identification.algorithm", "client.id", "client.rack", "broker.address.family", "socket.timeout.ms",
    "fetch.max.bytes", "max.partition.fetch.bytes", "queued.max.messages.kbytes", "receive.message.max.bytes",
)  # fmt: skip
"""Of librdkafka's settings, those that a URL may have: none loads code, starts a program or holds a secret."""

_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

SECRETS = {
    "sasl.username": "ELASTICDL_KAFKA_SASL_USERNAME",
    "sasl.password": "ELASTICDL_KAFKA_SASL_PASSWORD",
    "ssl.key.password": "ELASTICDL_KAFKA_SSL_KEY_PASSWORD",
}
"""Settings that are taken from the environment alone, and the variables that have them."""

_OWN = (
    "format", "from", "group", "key", "timestamp", "event_time", "event_time_unit", "late", "late_action",
    "dead_letters", "expired",
)  # fmt: skip
_SERVERS = re.compile(r"[A-Za-z0-9.\-]+:\d{1,5}|\[[0-9a-fA-F:.]+\]:\d{1,5}")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_COLUMN = re.compile(r"\w+")
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(s|m|h|d)")


@dataclass(frozen=True)
class Topic:
    """What a URL names. Empty strings mean 'not given'.

    `since` is "earliest", "latest", or a time in milliseconds since 1970. `key`, `timestamp` are names of columns to
    be added; `event_time` is the field with the time of the event, whose numbers are in the given unit. Records that
    came more than `late` milliseconds after their event are late.
    """

    servers: str
    name: str
    format: str = "json"
    since: str = "earliest"
    group: str = ""
    key: str = ""
    timestamp: str = ""
    event_time: str = ""
    event_time_unit: str = ""
    late: str = ""
    late_action: str = ""
    dead_letters: str = ""
    expired: str = ""
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def url(self) -> str:
        """The topic, without any parameter."""
        return f"{SCHEME}{self.servers}/{self.name}"

    def path(self, partition: int) -> str:
        """What stands for a partition where files have paths."""
        return path_of(self.url, partition)

    @property
    def late_after(self) -> int:
        """After how many milliseconds a record is late; 0 if there is no bound."""
        return _milliseconds(self.late)


def parse(paths: Sequence[str], option: str) -> Topic:
    """Return the topic that an option names; raise OptionError for whatever is wrong with its URL."""
    if len(paths) != 1:
        raise OptionError(option, "a job reads one Kafka topic, and nothing else beside it")
    address, _, query = paths[0].partition("?")
    servers, _, name = address.removeprefix(SCHEME).partition("/")
    if "@" in servers:
        raise _wrong(option, f"a user and password must not be in the URL: {_secrets()}")
    if not all(map(_SERVERS.fullmatch, servers.split(","))):
        raise _wrong(option, f"{servers!r} is not HOST:PORT, or several of these separated by commas")
    if not _TOPIC.fullmatch(unquote(name)):
        raise _wrong(option, f"{unquote(name)!r} is not the name of a topic; expected kafka://HOST:PORT/TOPIC")
    given: dict[str, str] = {}
    for key, value in parse_qsl(query.replace("+", "%2B"), keep_blank_values=True):  # +02:00 has no space
        if key in given:
            raise _wrong(option, f"{key} is given twice")
        given[key] = value
    own = {key: given.pop(key) for key in _OWN if key in given}
    _check_settings(given, option)
    topic = Topic(
        servers, unquote(name), since=_since(own.pop("from", "earliest"), option),
        settings=tuple(sorted(given.items())), **own,
    )  # fmt: skip
    _check(topic, option)
    return topic


def _check(topic: Topic, option: str) -> None:
    if topic.format not in FORMATS:
        raise _wrong(
            option, f"format={topic.format}: expected {', '.join(FORMATS)}.{did_you_mean(topic.format, FORMATS)}"
        )
    if topic.expired not in ("", "fail", "tell"):
        raise _wrong(option, f"expired={topic.expired}: expected fail or tell")
    _check_times(topic, option)
    columns = [name for name in (topic.key, topic.timestamp) if name]
    for name in columns:
        if not _COLUMN.fullmatch(name):
            raise _wrong(option, f"{name!r} is not the name of a column")
    if len(set(columns)) < len(columns):
        raise _wrong(option, f"key and timestamp are both called {topic.key!r}")


def _check_times(topic: Topic, option: str) -> None:
    if topic.event_time and topic.format == "bytes":
        raise _wrong(option, "event_time names a field of json or example, and format=bytes has no fields")
    if topic.event_time_unit not in ("", *UNITS):
        raise _wrong(option, f"event_time_unit={topic.event_time_unit}: expected {', '.join(UNITS)}")
    if topic.late_action not in ("", "train", "pass"):
        raise _wrong(option, f"late_action={topic.late_action}: expected train or pass")
    if topic.late and not topic.late_after:
        raise _wrong(option, f"late={topic.late}: expected a time, such as 90s, 10m, 6h or 2d")
    for name, needed in (("event_time_unit", "event_time"), ("late", "event_time"), ("late_action", "late")):
        if getattr(topic, name) and not getattr(topic, needed):
            why = " (late is what came long after its event)" if name == "late" else ""
            raise _wrong(option, f"{name} needs {needed}{why}")


def _milliseconds(duration: str) -> int:
    match = _DURATION.fullmatch(duration)
    return round(float(match[1]) * 1000 * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]) if match else 0


def _check_settings(given: dict[str, str], option: str) -> None:
    for key, value in given.items():
        if key in SECRETS:
            raise _wrong(option, f"{key} must not be in the URL: {_secrets()}")
        if key not in _SETTINGS:
            known = [*_OWN, *_SETTINGS]
            raise _wrong(option, f"{key} is not a parameter; expected {', '.join(known)}.{did_you_mean(key, known)}")
        if key == "sasl.mechanism" and value not in _MECHANISMS:
            raise _wrong(option, f"sasl.mechanism={value}: expected {', '.join(_MECHANISMS)}")


def _secrets() -> str:
    return f"set the environment variables {', '.join(SECRETS.values())} instead"


def _since(value: str, option: str) -> str:
    if value in ("earliest", "latest"):
        return value
    try:
        moment = datetime.datetime.fromisoformat(value)
    except ValueError:
        hint = "expected earliest, latest, or a time such as 2026-11-29T12:00:00Z"
        raise _wrong(option, f"from={value}: {hint}") from None
    if moment.tzinfo is None:
        raise _wrong(option, f"from={value}: the time needs a zone, such as Z or +02:00")
    return str(max(0, int(moment.timestamp() * 1000)))  # to brokers, -1 is the end


def _wrong(option: str, problem: str) -> OptionError:
    return OptionError(option, f"kafka://: {problem}")
