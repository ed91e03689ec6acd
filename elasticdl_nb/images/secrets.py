"""Keeping credentials out of images and of what is shown while they are built."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from elasticdl_nb.runtime.errors import OptionError

# scheme://USER:PASSWORD@host or scheme://TOKEN@host
_IN_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<secret>[^/\s@'\"]+)@", re.IGNORECASE)
_PIP_SETTINGS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")


def scrub(text: str) -> str:
    """Return the text with the credentials in its URLs replaced by asterisks."""
    return _IN_URL.sub(r"\g<scheme>***@", text)


def has_credentials(text: str) -> bool:
    """Whether a URL in the text contains a user or password; `ssh://git@…` and `${NAME}` do not count."""
    for match in _IN_URL.finditer(text):
        secret = match["secret"]
        over_ssh = "ssh" in match["scheme"].lower() and ":" not in secret
        if not over_ssh and not re.fullmatch(r"(\$\{\w+\}|:)+", secret):
            return True
    return False


def refuse_credentials(name: str, text: str) -> None:
    """Raise OptionError("model_zoo", …) for a requirements file that contains a credential."""
    for number, line in enumerate(text.splitlines(), 1):
        if has_credentials(line) and not line.lstrip().startswith("#"):
            raise OptionError(
                "model_zoo",
                f"line {number} of {name} has a password or token in a URL, which everyone who can pull the image "
                "could read. Install such packages in an image of your own, and use that as docker_base_image",
            )


def index_settings(environment: Mapping[str, str] = os.environ) -> tuple[tuple[str, str], ...]:
    """Return those of pip's settings of package indexes that contain no credentials."""
    given = ((name, environment.get(name, "")) for name in _PIP_SETTINGS)
    return tuple((name, value) for name, value in given if value and not has_credentials(value))
