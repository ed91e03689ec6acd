"""Whether this environment satisfies a model zoo's requirements.txt."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from elasticdl_nb.runtime.errors import OptionError

_COMMENT = re.compile(r"(^|\s)#.*$")
_INCLUDE = re.compile(r"(?:-r|--requirement)[\s=]*(\S.*)")
# TensorFlow under any of these names is the same import.
_SAME = {"tensorflow": ("tensorflow", "tensorflow-cpu", "tensorflow-intel", "tensorflow-macos", "tf-nightly")}


def check_requirements(zoo: str) -> None:
    """Raise OptionError("model_zoo", …), naming every requirement that is missing or has another version.

    Environment markers, comments, line continuations and `-r` includes are understood. Other pip options, paths and
    URLs are left to pip. A zoo without requirements.txt requires nothing.
    """
    path = Path(zoo) / "requirements.txt"
    if not path.is_file():
        return
    problems: dict[str, str] = {}
    for requirement in _requirements(path, Path(zoo).resolve(), set()):
        problem = _problem(requirement)
        if problem:
            problems[str(requirement)] = problem
    if problems:
        listed = ", ".join(f"{requirement} ({problem})" for requirement, problem in problems.items())
        quoted = " ".join(f"'{requirement}'" for requirement in problems)
        raise OptionError("model_zoo", f"requirements.txt requires {listed}. To install: pip install {quoted}")


def _requirements(path: Path, zoo: Path, seen: set[Path]) -> Iterator[Requirement]:
    if path.resolve() in seen:
        return
    if not path.resolve().is_relative_to(zoo):
        raise OptionError("model_zoo", f"its requirements include {path}, which is outside of the model zoo")
    seen.add(path.resolve())
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError("model_zoo", f"{path} cannot be read: {error}") from None
    for line in text.replace("\\\r\n", " ").replace("\\\n", " ").splitlines():
        entry = _COMMENT.sub("", line).strip()
        include = _INCLUDE.fullmatch(entry)
        if include:
            yield from _requirements(path.parent / include[1].strip(), zoo, seen)
        elif entry and not entry.startswith("-"):
            yield from _parse(entry, path)


def _parse(entry: str, path: Path) -> Iterator[Requirement]:
    text = re.split(r"\s--", entry)[0].strip()
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        if "/" in text or text.startswith("."):
            return
        raise OptionError("model_zoo", f"{path} has a line that is not a requirement: {entry!r}") from None
    if requirement.marker is None or requirement.marker.evaluate():
        yield requirement


def _problem(requirement: Requirement) -> str:
    name = canonicalize_name(requirement.name)
    for candidate in _SAME.get(name, (name,)):
        try:
            version = metadata.version(candidate)
        except metadata.PackageNotFoundError:
            continue
        fits = requirement.url is not None or requirement.specifier.contains(version, prereleases=True)
        return "" if fits else f"{version} is installed"
    return "not installed"
