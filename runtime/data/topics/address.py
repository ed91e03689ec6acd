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

_OWN = ("format", "from", "group", "key", "timestamp", "dead_letters", "expired")
_SERVERS = re.compile(r"[A-Za-z0-9.\-]+:\d{1,5}|\[[0-9a-fA-F:.]+\]:\d{1,5}")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_COLUMN = re.compile(r"\w+")


@dataclass(frozen=True)
class Topic:
    """What a URL names. Empty strings mean 'not given'.

    `since` is "earliest", "latest", or a time in milliseconds since 1970. `key`, `timestamp` are names of columns to
    be added; `event_time` is the column with the time of the event, in seconds or milliseconds since 1970.
    """

    servers: str
    name: str
    format: str = "json"
    since: str = "earliest"
    group: str = ""
    key: str = ""
    timestamp: str = ""
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
    columns = [name for name in (topic.key, topic.timestamp) if name]
    for name in columns:
        if not _COLUMN.fullmatch(name):
            raise _wrong(option, f"{name!r} is not the name of a column")
    if len(set(columns)) < len(columns):
        raise _wrong(option, f"key and timestamp are both called {topic.key!r}")


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
