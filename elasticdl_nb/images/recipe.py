"""The steps that make an image, in order: a plain object, and the Dockerfile that it describes.

What rarely changes comes first, so that a changed model costs one small layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

DEFAULT_BASE_IMAGE = "python:3.11-slim"
ZOO_FOLDER = "/model_zoo"
# Far from the ids that base images use for their own users.
USER_ID = 10001
_HOME = "/home/elasticdl"
_TOOLS = "/opt/elasticdl"

_SETTINGS = f"""\
ENV HOME={_HOME} PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
PIP_BREAK_SYSTEM_PACKAGES=1 PIP_NO_INPUT=1"""

_PREPARE = f"""\
RUN mkdir -p {_HOME} && chmod 777 {_HOME} && rm -rf {ZOO_FOLDER} \
 && (grep -q ':{USER_ID}:' /etc/passwd || echo 'elasticdl:x:{USER_ID}:{USER_ID}::{_HOME}:/bin/sh' >> /etc/passwd) \
 && (command -v python > /dev/null || ln -s "$(command -v python3)" /usr/local/bin/python)"""


@dataclass(frozen=True)
class Step:
    """One instruction of a Dockerfile; users see its title."""

    instruction: str
    title: str


@dataclass(frozen=True)
class Recipe:
    """How an image is made.

    `framework` is what pip installs elasticdl_nb from: the name of a wheel in the context, or a requirement.
    `requirements` are the zoo's own requirements files, including those they refer to; empty if it has none.
    `index` holds pip's settings of package indexes, without credentials.
    """

    base: str
    framework: str
    requirements: tuple[str, ...] = ()
    index: tuple[tuple[str, str], ...] = ()

    def steps(self) -> tuple[Step, ...]:
        """The instructions, in order."""
        return tuple(self._steps())

    def _steps(self) -> Iterator[Step]:
        install = f"RUN python3 {_TOOLS}/install.py"
        yield Step(f"FROM {self.base}", f"base image {self.base}")
        yield Step("USER 0", "user and folders")
        yield Step(_SETTINGS, "settings")
        yield Step(_PREPARE, "user and folders")
        for name, value in self.index:
            yield Step(f"ENV {name}={_quoted(value)}", "package index")
        yield Step(f"COPY install.py framework.txt {_TOOLS}/", "framework's dependencies")
        yield Step(f"{install} -r {_TOOLS}/framework.txt", "framework's dependencies")
        if self.framework.endswith(".whl"):
            yield Step(f"COPY {self.framework} {_TOOLS}/", "framework")
            yield Step(f"{install} --no-deps {_TOOLS}/{self.framework}", "framework")
        else:
            yield Step(f"{install} --no-deps {self.framework}", "framework")
        if self.requirements:
            files = " ".join(f"requirements/{name}" for name in self.requirements)
            yield Step(f"COPY {files} {_TOOLS}/requirements/", "requirements.txt")
            yield Step(f"{install} -r {_TOOLS}/requirements/requirements.txt", "requirements.txt")
        yield Step(f"WORKDIR {_HOME}", "user and folders")
        yield Step(f"USER {USER_ID}:{USER_ID}", "user and folders")
        yield Step("ENTRYPOINT []", "settings")
        yield Step('CMD ["python3"]', "settings")
        yield Step(f"COPY zoo {ZOO_FOLDER}", "model zoo")

    def dockerfile(self) -> str:
        """The text of the Dockerfile."""
        return "".join(f"{step.instruction}\n" for step in self._steps())


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'
