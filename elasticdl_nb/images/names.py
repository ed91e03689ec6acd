"""Names of images: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`."""

from __future__ import annotations

import re

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.model.saving.trained import PULLABLE

_NAME = re.compile(
    r"((?P<host>[A-Za-z0-9.-]+(:\d+)?)/)?(?P<path>[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*)"
    r"(:(?P<tag>\w[\w.-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)


def check_name(option: str, name: str) -> str:
    """Return the name of an image; raise OptionError if it is not valid."""
    if not _NAME.fullmatch(name):
        raise OptionError(option, f"{name!r} is not the name of an image, such as registry.example.com/me/zoo:latest")
    return name


def split_name(name: str) -> tuple[str, str]:
    """Return an image's repository and its tag, `latest` if it has none."""
    repository, colon, tag = name.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (name, "latest")


def host_of(name: str) -> str:
    """Return the registry in a name."""
    first, slash, _ = name.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"


def image_of(commit_id: str) -> str:
    """Return the image that a `docker_commit_id` names."""
    return commit_id.removeprefix(PULLABLE)
