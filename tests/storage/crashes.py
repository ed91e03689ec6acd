"""Crashes on purpose: a process killed before each of its file system operations, and power failures.

Both watch the same operations: files and folders made, linked, renamed, exchanged, removed, flushed. Python's own audit
events report most of them; `os.fsync` and the exchange of two names are wrapped. All of it happens in forked processes.
"""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elasticdl_nb.runtime import durable

Operation = tuple[str, ...]
_KILLED, _FINISHED, _FAILED = 9, 0, 1


def _folder() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder, in memory where possible, because nothing here needs a slow disk."""
    memory = "/dev/shm"
    return tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None)


def _watch(root: Path, see: Callable[[Operation], None]) -> None:
    """Call `see` before each operation below `root`, from now on, in this process."""
    below = os.fspath(root) + os.sep
    sync, rename2 = os.fsync, durable._renameat2()

    def path_of(value: Any) -> str:
        if isinstance(value, int):
            return os.readlink(f"/proc/self/fd/{value}")
        return os.path.abspath(os.fsdecode(value))

    def tell(name: str, *paths: Any) -> None:
        full = [path_of(path) for path in paths]
        if all((path + os.sep).startswith(below) for path in full):
            see((name, *full))

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], (str, bytes)) and arguments[2] & (os.O_CREAT | os.O_TRUNC):
            tell("create", arguments[0])
        elif event in ("os.rename", "os.link"):
            tell(event.removeprefix("os."), arguments[0], arguments[1])
        elif event in ("os.remove", "os.rmdir", "os.mkdir"):
            # rmtree removes by name within an open folder
            folder = arguments[-1]
            whole = arguments[0] if folder == -1 else os.path.join(path_of(folder), os.fsdecode(arguments[0]))
            tell(event.removeprefix("os."), whole)

    def fsync(descriptor: int) -> None:
        path = path_of(descriptor)
        if (path + os.sep).startswith(below):
            see(("sync_folder", path) if os.path.isdir(path) else ("sync", path, Path(path).read_bytes().hex()))
        sync(descriptor)

    def renameat2(_: int, source: bytes, __: int, target: bytes, flags: int) -> int:
        tell("exchange" if flags == durable._EXCHANGE else "rename", source, target)
        return int(rename2(-100, source, -100, target, flags)) if rename2 else -1

    os.fsync = fsync
    if rename2 is not None:
        durable._renameat2 = lambda: renameat2  # type: ignore[assignment]
    sys.addaudithook(audit)


def _forked(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(_FINISHED)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(_FAILED)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kills(prepare: Callable[[Path], None], work: Callable[[Path], None]) -> Iterator[tuple[int, Path]]:
    """For each operation of `work`, yield its number and a prepared folder where a process was killed before it."""
    number = 0
    while True:
        number += 1
        with _folder() as name:
            root = Path(name)
            prepare(root)
            seen = 0

            def see(operation: Operation, last: int = number) -> None:
                nonlocal seen
                seen += 1
                if seen == last:
                    os._exit(_KILLED)

            def killed(root: Path = root, see: Callable[[Operation], None] = see) -> None:
                _watch(root, see)
                work(root)

            code = _forked(killed)
            assert code in (_KILLED, _FINISHED), code
            if code == _FINISHED:
                return
            yield number, root


# ------------------------------------------------------------ power


@dataclass
class _Node:
    """A file or folder of the simulated disk; `content` is the flushed part of a file."""

    number: int
    children: dict[str, _Node] | None = None
    content: bytes = b""


@dataclass
class _Disk:
    """Replays operations; names return in the order in which they were given, contents only if they were flushed."""

    top: _Node
    numbers: int = 0
    by_number: dict[int, _Node] = field(default_factory=dict)

    def node(self, folder: bool) -> _Node:
        self.numbers += 1
        made = self.by_number[self.numbers] = _Node(self.numbers, {} if folder else None)
        return made

    def find(self, path: str) -> tuple[dict[str, _Node], str]:
        here = self.top
        *folders, name = path.split(os.sep)
        for one in folders:
            assert here.children is not None
            here = here.children[one]
        assert here.children is not None
        return here.children, name

    def do(self, name: str, *paths: str) -> None:
        made = self.node(name == "mkdir") if name in ("create", "mkdir") else None
        try:
            (folder, last), *others = (self.find(path) for path in paths)
        except KeyError:  # it was tried and failed
            return
        match name:
            case "create" | "mkdir" if made is not None:
                folder.setdefault(last, made)
            case "remove" | "rmdir":
                folder.pop(last, None)
            case "rename":
                others[0][0][others[0][1]] = folder.pop(last)
            case "link":
                others[0][0][others[0][1]] = folder[last]
            case "exchange":
                there, other = others[0]
                folder[last], there[other] = there[other], folder[last]

    def write(self, into: Path) -> None:
        _write(self.top, into)


def _write(node: _Node, path: Path) -> None:
    if node.children is None:
        path.write_bytes(node.content)
        return
    path.mkdir(exist_ok=True)
    for name, child in node.children.items():
        _write(child, path / name)


def power_losses(prepare: Callable[[Path], None], work: Callable[[Path], None]) -> Iterator[tuple[int, bool, Path]]:
    """Yield states that a disk may be in after a power failure during `work`, each in a folder of its own.

    Each comes with the number of operations done, and whether those were all. Contents are there if the file was
    flushed, names if a folder was flushed since. Later names may have reached the disk up to any point, in their order,
    and later contents have not, which is the worst that a journaling file system does. `prepare` creates what was on
    the disk long before.
    """
    with _folder() as name, tempfile.TemporaryFile() as log:
        root = Path(name)
        prepare(root)
        disk_before = [(str(path.relative_to(root)), path.is_dir(), b"" if path.is_dir() else path.read_bytes())
                       for path in sorted(root.rglob("*"))]  # fmt: skip

        def recorded() -> None:
            seen: list[Operation] = []
            _watch(root, seen.append)
            work(root)
            pickle.dump([(one, *(_relative(root, path) for path in paths)) for one, *paths in seen], log)
            log.flush()

        assert _forked(recorded) == _FINISHED
        log.seek(0)
        operations: list[Operation] = pickle.load(log)
    for done in range(len(operations) + 1):
        synced = max((n + 1 for n, one in enumerate(operations[:done]) if one[0] == "sync_folder"), default=0)
        for names in range(synced, done + 1):
            with _folder() as state:
                _replay(disk_before, operations, done, names).write(Path(state))
                yield done, done == len(operations), Path(state)


def _relative(root: Path, path: str) -> str:
    return os.path.relpath(path, root) if os.path.isabs(path) else path


def _replay(before: list[tuple[str, bool, bytes]], operations: list[Operation], done: int, names: int) -> _Disk:
    """The disk after `done` operations, when `names` of their names have reached it."""
    whole, kept = _Disk(_Node(0, {})), _Disk(_Node(0, {}))
    for disk in (whole, kept):
        for path, is_folder, content in before:
            folder, name = disk.find(path)
            folder[name] = disk.node(is_folder)
            folder[name].content = content
    for number, (name, *paths) in enumerate(operations[:done]):
        if name == "sync":
            folder, last = whole.find(paths[0])
            kept.by_number[folder[last].number].content = bytes.fromhex(paths[1])
            continue
        if name == "sync_folder":
            continue
        whole.do(name, *paths)
        if number < names:
            kept.do(name, *paths)
        elif name in ("create", "mkdir"):
            kept.node(name == "mkdir")
    return kept
