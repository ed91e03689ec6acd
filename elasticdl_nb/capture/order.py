"""The order of a package's lines: as they ran, except that each comes after what it needs while it runs."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from elasticdl_nb.capture.closure import Closure
from elasticdl_nb.capture.roots import Made
from elasticdl_nb.capture.statements import Statement
from elasticdl_nb.capture.trace import END, Trace

Line = Statement | Made


@dataclass
class Cycle(Exception):
    """Lines that need each other."""

    lines: list[Line]


def ordered(trace: Trace, closure: Closure, made: Iterable[Made]) -> list[Line]:
    """Return statements and made lines in an order in which they can run; raise Cycle if there is none."""
    lines: list[Line] = [*closure.statements.values(), *made]
    places = {id(line): place for place, line in enumerate(lines)}
    after: list[set[int]] = [set() for _ in lines]

    def edge(first: Line | None, second: Line | None) -> None:
        if first is not None and second is not None and first is not second:
            after[places[id(first)]].add(places[id(second)])

    binders: dict[str, list[Line]] = {}
    for line in sorted(lines, key=_when):
        for name in line.binds:
            binders.setdefault(name, []).append(line)
    for those in binders.values():
        for one, other in pairwise(those):
            edge(one, other)

    def provider(name: str, at: int) -> Line | None:
        those = binders.get(name, [])
        if at == END:
            return those[-1] if those else None
        origin = trace.origin(name, at)
        return next((one for one in reversed(those) if one is origin), None)

    for use in closure.uses:
        found = provider(use.name, use.at)
        edge(found, use.statement)
        those = binders.get(use.name, [])
        if use.at != END and found is not None and those.index(found) + 1 < len(those):
            edge(use.statement, those[those.index(found) + 1])
    called = [use for use in closure.uses if use.called and use.at == END]
    for line in lines:
        if isinstance(line, Made):
            for name in line.needs:
                edge(provider(name, END), line)
            if line.last:
                target = line.roots[0].target
                for use in called:
                    if use.name == target:
                        edge(use.statement, line)
    return _sorted(lines, after)


def _when(line: Line) -> tuple[float, int, bool]:
    if isinstance(line, Statement):
        return line.index, 0, False
    return line.index, 1, line.last


def _sorted(lines: list[Line], after: list[set[int]]) -> list[Line]:
    waiting_for = [0] * len(lines)
    for those in after:
        for place in those:
            waiting_for[place] += 1
    ready = [(*_when(line), place) for place, line in enumerate(lines) if not waiting_for[place]]
    heapq.heapify(ready)
    found: list[Line] = []
    while ready:
        place = heapq.heappop(ready)[-1]
        found.append(lines[place])
        for other in after[place]:
            waiting_for[other] -= 1
            if not waiting_for[other]:
                heapq.heappush(ready, (*_when(lines[other]), other))
    if len(found) < len(lines):
        done = {id(line) for line in found}
        raise Cycle([line for line in lines if id(line) not in done])
    return found
