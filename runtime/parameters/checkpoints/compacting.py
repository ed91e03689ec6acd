"""One file in place of a chain, made beside training.

The files of a chain never change, so that merging them needs no lock, and nobody waits for it. The new file holds what
the last one of the chain stands for and has its id: deltas may follow it as they follow that one. Until it is sealed,
nothing knows of it.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.checkpoints.chain import names, read
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import Frame, save
from elasticdl_nb.runtime.parameters.store import Marks
from elasticdl_nb.runtime.storage import checkpoints

logger = logging.getLogger(__name__)

Beside = Callable[[Callable[[], None]], object]
"""Runs work beside what the caller does, as in a thread."""

_PIECE = 32 << 20
"""Bytes that are written before they are flushed, so that a checkpoint made meanwhile is not held up by all of them."""


@dataclass(frozen=True)
class Written:
    """A chain that was written into a folder: the id of each file, the instant, and bytes of rows in its deltas."""

    folder: Path
    ids: tuple[str, ...]
    marks: Marks
    size: int = 0


class Compactions:
    """Makes one file of a server's chain. Calls come from one thread."""

    def __init__(self, server: int, servers: int, beside: Beside | None) -> None:
        self._place, self._beside = (server, servers), beside
        self.under_way = False
        self._given_up = ""
        self._wanted = 0  # the number of what is wanted: what was begun before is not
        self._made: tuple[int, Written] | None = None

    @property
    def result(self) -> Written | None:
        """The latest that was made, if it is still wanted."""
        made = self._made
        return made[1] if made is not None and made[0] == self._wanted else None

    def begin(self, chain: Written, origin: Path, files: Sequence[Path]) -> None:
        """Begin with a chain whose `files` are intact; `origin` is a sealed checkpoint that has them.

        Does nothing while another is under way, or if this chain could not be compacted before.
        """
        if self._beside is None or self.under_way or self._given_up == chain.ids[0]:
            return
        try:
            manifest = checkpoints.Manifest.read(origin)
            folder = checkpoints.begin_compacting(origin.parent, f"server-{self._place[0]}-of-{self._place[1]}")
            own = [folder / name for name in names(*self._place, len(files))]
            for file, link in zip(files, own, strict=True):
                os.link(file, link)
        except (OSError, DataError) as error:
            self._give_up(chain, error)
            return
        self.under_way, number = True, self._wanted
        self._beside(lambda: self._make(number, chain, folder, own, manifest))

    def _make(
        self, number: int, chain: Written, folder: Path, files: Sequence[Path], origin: checkpoints.Manifest
    ) -> None:
        try:
            save(folder / names(*self._place, 1)[0], self._merged(number, files), piece=_PIECE)
            for file in files:
                file.unlink()
            checkpoints.seal(folder, origin.step, origin.job)
            self._made = number, replace(chain, folder=folder, ids=chain.ids[-1:], size=0)
        except (OSError, DataError) as error:
            durable.remove(folder)
            if number == self._wanted:
                self._give_up(chain, error)
        finally:
            self.under_way = False

    def _merged(self, number: int, files: Sequence[Path]) -> Iterator[Frame]:
        for frame in read(files):
            if number != self._wanted:
                raise OSError(errno.ECANCELED, "not needed any more")
            yield Frame({**frame.meta, "follows": ""}, frame.arrays) if frame.meta["kind"] == "state" else frame

    def _give_up(self, chain: Written, error: Exception) -> None:
        self._given_up = chain.ids[0]
        logger.warning("cannot merge the files of a chain of checkpoints, which will end with a whole one: %s", error)

    def used(self) -> None:
        """What was made is in a sealed checkpoint, or nothing can follow it: remove this copy."""
        if self._made is not None:
            durable.remove(self._made[1].folder)
            self._made = None

    def forget(self) -> None:
        """Nothing that was begun so far is needed any more."""
        self._wanted += 1
        self.used()
