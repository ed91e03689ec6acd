"""Which records a training that follows its data has used: written with its model, read by a job that goes on from it.

A trained model has used all records of its files, except those that were not there yet. A checkpoint may be in the
midst of some. Both are JSON: the files with their stamps, and, of those that were only used in part, what is left. Of a
Kafka topic, they have the offsets up to which its partitions were used.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.data.chunks import FileRecords
from elasticdl_nb.runtime.data.following import Appeared, appeared_in
from elasticdl_nb.runtime.data.listing import Listing
from elasticdl_nb.runtime.data.topics.address import parse
from elasticdl_nb.runtime.data.topics.identity import Mark
from elasticdl_nb.runtime.data.topics.names import any_topic, name_of, path_of
from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.storage.checkpoints import QUEUE
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

NAME = "used_files.json"
"""The list in a trained model's directory, and that in a job's folder of what was used before it."""

KEY = "data"
"""Of the same in what a checkpoint keeps of the job's state."""

_GIVEN = "data.given.json"


@dataclass(frozen=True)
class Used:
    """Files with their stamps when they were listed, and the ranges [start, end) that are left of some of them.

    `offsets` are those up to which partitions of topics were used, by `names.name_of`, except for what is `left`;
    `marks` are records that show whether a topic is still the same: offset and fingerprint.
    """

    files: Listing = field(default_factory=dict)
    left: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        of_topics = {"offsets": self.offsets, "marks": self.marks}
        return {"files": self.files, "left": self.left, **{name: some for name, some in of_topics.items() if some}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Used:
        """Return it from what `to_json` returned."""
        files = {path: None if stamp is None else (stamp[0], stamp[1]) for path, stamp in values["files"].items()}
        left = {path: [(a, b) for a, b in ranges] for path, ranges in values["left"].items()}
        marks = {name: (offset, text) for name, (offset, text) in values.get("marks", {}).items()}  # not in older ones
        return cls(files, left, dict(values.get("offsets", {})), marks)

    def is_whole(self, path: str) -> bool:
        """Whether all records of a file were used."""
        return path in self.files and not self.left.get(path)

    def rest(self, file: FileRecords) -> list[FileRecords]:
        """Return what is left of a file that the job has listed, with all its records."""
        if file.path not in self.files:
            return [file]
        return [FileRecords(file.path, end - start, start) for start, end in self.left.get(file.path, ())]

    def left_of_others(self, listed: Collection[str]) -> dict[str, list[tuple[int, int]]]:
        """Return what is left of files that a job has not listed, for one that will."""
        return {path: [*ranges] for path, ranges in self.left.items() if path not in listed}


def used_by(given: Sequence[FileRecords], stamps: Listing, state: Mapping[str, Any], before: Used) -> Used:
    """Return what has been used in this state of a checkpoint.

    `given` are the ranges that the job was given to train on, in the order in which tasks are cut from them; `stamps`
    are those of all files that it has listed; `before` is what was used when it began.
    """
    left = before.left_of_others(stamps)

    def leave(path: str, start: int, end: int) -> None:
        if end > start:
            left.setdefault(path, []).append((start, end))

    for spans, _, _, _, _, *skips in state["queue"]["waiting"]:  # tasks that have been cut, but not done
        skip = sum(skips)
        for path, start, end in spans:
            leave(path, min(start + skip, end), end)
            skip = max(0, skip - (end - start))
    used = {**before.files, **{path: stamps[path] for path in left if path in stamps}}
    reached, passed = state["followed"]["next"], False
    for one in given:
        start, end = one.start, one.start + one.records
        cut = start if passed else end
        if not passed and reached and one.path == reached[0] and start <= reached[1] < end:
            cut, passed = reached[1], True
        leave(one.path, cut, end)
        if cut > start:
            used[one.path] = stamps[one.path]
    return Used(used, {path: sorted(ranges) for path, ranges in left.items() if path in used})


def used_of_topic(topic_url: str, state: Mapping[str, Any], before: Used) -> Used:
    """Return what has been used in this state of a checkpoint of a job that follows a topic; `before` is what was used
    earlier, perhaps of other topics.
    """
    followed, offsets = state["followed"], dict(before.offsets)
    for path, end in followed["offsets"].items():  # less than before, if only what earlier jobs left was in the plan
        offsets[name_of(path)] = max(end, offsets.get(name_of(path), 0))
    own = name_of(path_of(topic_url, 0)).rpartition("/")[0]
    left = {name: [*ranges] for name, ranges in before.left.items() if name.rpartition("/")[0] != own}
    ranges = [tuple(one) for one in followed["ahead"]]
    ranges += [tuple(span) for spans, *_ in state["queue"]["waiting"] for span in spans]
    for path, start, end in sorted(ranges):
        left.setdefault(name_of(path), []).append((start, end))
    marks = dict(before.marks)
    for path, (_, offset, text, _) in state["queue"].get("learnt", {}).items():
        marks[name_of(path)] = offset, text
    return replace(before, left=left, offsets=offsets, marks=marks)


def used_up_to(state: Mapping[str, Any]) -> dict[str, int]:
    """Return the first offset of each partition that is not used yet in this state of a checkpoint, by path."""
    offsets: dict[str, int] = dict(state["followed"].get("offsets", {}))
    waiting = [span for spans, *_ in state["queue"]["waiting"] for span in spans]
    for path, start, _ in [*state["followed"].get("ahead", []), *waiting]:
        offsets[path] = min(offsets.get(path, start), start)
    return offsets


# ------------------------------------------------------------ of a job


def remember(folder: JobFolder, beginning: str) -> None:
    """Write into a job's folder what the trained model or checkpoint that it begins with has used; "" is none."""
    folder.listings.mkdir(parents=True, exist_ok=True)
    durable.write(folder.listings / NAME, json.dumps(_of(beginning).to_json()).encode())


def _of(beginning: str) -> Used:
    if beginning:
        with contextlib.suppress(FileNotFoundError):
            return Used.from_json(json.loads(Path(beginning, NAME).read_text()))
        with contextlib.suppress(FileNotFoundError):
            values = json.loads(Path(beginning, QUEUE).read_text())
            return Used.from_json(values[KEY]) if KEY in values else Used()
    return Used()


def before(folder: JobFolder) -> Used:
    """Return what `remember` has written."""
    return Used.from_json(json.loads((folder.listings / NAME).read_text()))


def give_of_topic(
    folder: JobFolder, topic_url: str, there: Mapping[int, tuple[int, int]],
    check: Callable[[Mapping[int, Mark]], None],
) -> list[FileRecords]:  # fmt: skip
    """Return the ranges of a topic that an earlier job has left; raise DataError if it is not the same topic any more.

    `there` are the offsets [start, end) of its partitions now; `check` compares records with those that were used.
    """
    used, given = before(folder), []
    for number, (_, end) in there.items():
        path = path_of(topic_url, number)
        if used.offsets.get(name_of(path), 0) > end:
            raise DataError(
                f"{path} ends at offset {end}, but earlier training has used records up to offset "
                f"{used.offsets[name_of(path)]}: was the topic deleted and created again?"
            )
        given += [FileRecords(path, stop - start, start) for start, stop in used.left.get(name_of(path), ())]
    check({number: mark for number in there if (mark := used.marks.get(name_of(path_of(topic_url, number))))})
    return given


def _topic_of(folder: JobFolder) -> str:
    return parse(folder.spec().data, "data").url


def reached_in(folder: JobFolder) -> Path:
    """Where the offsets are written up to which the partitions of a job's topic are in its plan."""
    return folder.listings / "data.reached.json"


def give(folder: JobFolder, listed: Iterable[FileRecords]) -> list[FileRecords]:
    """Return what a job is to train on, of the files that it has listed when it began; remembered in its folder.

    Raises DataError if a file that was used in part is no longer what it was.
    """
    used, (stamps, _) = before(folder), _listed(folder)
    given = []
    for file in listed:
        for rest in used.rest(file):
            changed = file.path in used.files and stamps[file.path] != used.files[file.path]
            if changed or rest.start + rest.records > file.records:
                raise DataError(f"{file.path} was changed after a part of it had been used; the rest cannot be told")
            given.append(rest)
    durable.write(folder.listings / _GIVEN, json.dumps([[one.path, one.records, one.start] for one in given]).encode())
    return given


def _listed(folder: JobFolder) -> tuple[Listing, Appeared]:
    first = json.loads((folder.listings / "data.json").read_text())
    appeared = Appeared(appeared_in(folder.listings, "data"))
    appeared.read()
    return {path: None if stamp is None else (stamp[0], stamp[1]) for path, stamp in first}, appeared


def with_used(folder: JobFolder, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state that a checkpoint keeps, with what has been used by then."""
    if "offsets" in state["followed"]:
        return {**state, KEY: used_of_topic(_topic_of(folder), state, before(folder)).to_json()}
    listing, appeared = _listed(folder)
    given = [FileRecords(*one) for one in json.loads((folder.listings / _GIVEN).read_text())]
    given += appeared.records[: state["followed"]["found"]]
    return {**state, KEY: used_by(given, {**listing, **appeared.stamps}, state, before(folder)).to_json()}


def write(folder: JobFolder, directory: Path, marks: Mapping[str, Mark] = MappingProxyType({})) -> None:
    """Write what the job and those before it have used; to be called at the job's end, when all of it is.

    `marks` are those of a topic, by path.
    """
    if any_topic(folder.spec().data):
        followed = {"offsets": json.loads(reached_in(folder).read_text()), "ahead": []}
        used = used_of_topic(_topic_of(folder), {"followed": followed, "queue": {"waiting": []}}, before(folder))
        used = replace(used, marks={**used.marks, **{name_of(path): mark for path, mark in marks.items()}})
        (directory / NAME).write_text(json.dumps(used.to_json()))
        return
    listing, appeared = _listed(folder)
    earlier, stamps = before(folder), {**listing, **appeared.stamps}
    used = Used({**earlier.files, **stamps}, earlier.left_of_others(stamps))
    (directory / NAME).write_text(json.dumps(used.to_json()))
