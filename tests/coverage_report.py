"""Reports what the tests reached, room by room: `python tests/coverage_report.py [FOLDER ...]`, after `make test`.

Lists the modules that no test reaches and, for each given folder, the functions that no test enters.
"""

from __future__ import annotations

import ast
import marshal
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from coverage import Coverage

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "measured"))
import reached  # noqa: E402


@dataclass(frozen=True)
class Module:
    """A module, and which of its lines were run."""

    path: Path
    statements: frozenset[int]
    reached: frozenset[int]

    @property
    def room(self) -> str:
        return str(self.path.parent)

    def unentered(self) -> Iterator[str]:
        """Yield the functions none of whose body lines ran, each with its place."""
        for node in ast.walk(ast.parse((ROOT / self.path).read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = self.statements & {*range(node.body[0].lineno, (node.end_lineno or 0) + 1)}
                if body and not body & self.reached:
                    yield f"{self.path}:{node.lineno} {node.name}"


def measured() -> Iterator[Module]:
    """Yield the modules that have statements, after passing the marks of all processes to coverage."""
    coverage = Coverage(data_file=os.path.join(reached.DATA, "coverage"), config_file=str(ROOT / "pyproject.toml"))
    data = coverage.get_data()
    data.read()
    for file in Path(reached.DATA, "lines").iterdir():
        marks = marshal.loads(file.read_bytes())
        data.add_lines({str(ROOT / path): [at for at, mark in enumerate(line) if mark] for path, line in marks.items()})
        file.unlink()
    sources = (str(path) for folder in reached.FOLDERS for path in (ROOT / folder).rglob("*.py"))
    data.touch_files(path for path in sources if not path.endswith(reached.GENERATED))
    coverage.save()
    for path in sorted(data.measured_files()):
        _, statements, _, missing, _ = coverage.analysis2(path)
        if statements:
            found = frozenset(statements)
            yield Module(Path(path).relative_to(ROOT), found, found - {*missing})


def main(folders: list[str]) -> None:
    """Print the table, the modules that no test reached, and the unentered functions of the given folders."""
    rooms: defaultdict[str, list[Module]] = defaultdict(list)
    for module in measured():
        rooms[module.room].append(module)
    if not rooms:
        sys.exit("nothing was measured: run `make test`")
    print(f"{'room':<34}{'statements':>12}{'reached':>9}{'functions not entered':>24}")
    for room, modules in sorted(rooms.items()):
        print(_row(room, modules))
    everything = [module for modules in rooms.values() for module in modules]
    print(_row("all", everything))
    unreached = [str(module.path) for module in everything if not module.reached]
    print("Reached by no test:", *unreached or ["no module"], sep="\n  ")
    for folder in folders:
        print(f"Functions of {folder} that no test enters:")
        for module in everything:
            if Path(folder) in [module.path, *module.path.parents]:
                print(*(f"  {function}\n" for function in module.unentered()), sep="", end="")


def _row(room: str, modules: list[Module]) -> str:
    statements, reached = (sum(len(getattr(module, name)) for module in modules) for name in ("statements", "reached"))
    unentered = sum(1 for module in modules for _ in module.unentered())
    return f"{room:<34}{statements:>12,}{reached / statements:>9.0%}{unentered:>24,}"


if __name__ == "__main__":
    main(sys.argv[1:])
