"""The result of capture, its checks, and how it is written as a model zoo."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from elasticdl_nb.capture.compose import unbound_names
from elasticdl_nb.capture.live import PYTHON_BUILTINS
from elasticdl_nb.capture.state.reading import FOLDER
from elasticdl_nb.runtime.errors import CaptureError

NOTEBOOK_NAMES = frozenset({"get_ipython", "exit", "quit", "__file__", "__builtins__"})


@dataclass(frozen=True)
class Captured:
    """A self-contained module made of notebook cells or of a script.

    `modules` maps relative paths to the source of local modules to ship beside it; `cells` are the numbers of the cells
    it came from. `state` holds the files of its values, written during the capture. `living` maps names to the
    notebook's objects that the module should define, and `places` maps them to the cells they come from. `notes` are
    worth knowing but no cause for concern. `files` are data files to copy, each with its current path.
    With `scratch`, variables have initial values, not those of the notebook.
    """

    source: str
    requirements: list[str]
    modules: dict[str, str]
    warnings: list[str]
    cells: list[int]
    state: StateFiles | None = None
    living: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    scratch: bool = False


class StateFiles:
    """The files that values were written to, in a folder that exists as long as this object."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="elasticdl-state-")
        self.names: list[str] = []

    @property
    def folder(self) -> str:
        """The folder that holds them."""
        return self._folder.name

    def write(self, name: str, write: Callable[[BinaryIO], None]) -> None:
        """Write another file."""
        with open(os.path.join(self.folder, name), "wb") as file:
            write(file)
        self.names.append(name)

    @property
    def size(self) -> int:
        """The size of all files together, in bytes."""
        return sum(os.path.getsize(os.path.join(self.folder, name)) for name in self.names)

    def largest(self, count: int = 3) -> list[str]:
        """The largest files, each with its size."""
        sizes = {name: os.path.getsize(os.path.join(self.folder, name)) for name in self.names}
        found = sorted(sizes, key=lambda name: -sizes[name])[:count]
        return [f"{name} ({sizes[name] / 2**20:,.1f} MB)" for name in found]

    def put_into(self, directory: str) -> None:
        """Put the files into a folder, as hard links where the file system allows it."""
        os.makedirs(directory, exist_ok=True)
        for name in self.names:
            source, target = os.path.join(self.folder, name), os.path.join(directory, name)
            with contextlib.suppress(FileNotFoundError):
                os.remove(target)
            try:
                os.link(source, target)
            except OSError:
                shutil.copyfile(source, target)


def check(captured: Captured, names: Iterable[str] = ()) -> None:
    """Compile the module and check that every name it reads is bound; raise CaptureError if not."""
    try:
        compile(captured.source, "<packaged module>", "exec", dont_inherit=True)
    except SyntaxError as error:
        raise CaptureError([f"the packaged module has a syntax error in line {error.lineno}: {error.msg}"]) from error
    known = NOTEBOOK_NAMES | PYTHON_BUILTINS
    unbound = unbound_names(captured.source, known)
    if unbound:
        raise CaptureError(
            f"{name!r} (line {line} of the packaged module) is not defined by the cells that were packaged; define it "
            f"in its own cell"
            for name, line in unbound.items()
        )


def write_zoo(captured: Captured, directory: str | os.PathLike[str], module: str = "notebook") -> None:
    """Write `module`.py, requirements.txt and the local modules into `directory`, which is created if necessary.

    Raises CaptureError if a local module or a data file has the same name as a part of the package.
    """
    files = {
        f"{module}.py": captured.source,
        "requirements.txt": "".join(f"{line}\n" for line in captured.requirements),
    }
    clash = next((path for path in captured.modules if path in files or path.split("/")[0] == module), None)
    if clash:
        raise CaptureError([f"the local module {clash} has the same name as the packaged module; rename it"])
    clash = next((path for path in captured.files if path in files or path.split("/")[0] == FOLDER), None)
    if clash:
        raise CaptureError([f"{clash}, which the code names, has the same name as a part of the package; rename it"])
    for path, text in {**files, **captured.modules}.items():
        target = os.path.join(directory, *path.split("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    for path, source in captured.files.items():
        target = os.path.join(directory, *path.split("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(source, target)
    if captured.state is not None and captured.state.names:
        captured.state.put_into(os.path.join(directory, FOLDER))
