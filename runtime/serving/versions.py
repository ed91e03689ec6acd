"""Versions of a trained model, and the one that is served: new ones are loaded beside it, and swapped in."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.serving.batching import Batcher
from elasticdl_nb.runtime.serving.finding import Found, mark_of, must_be_there, newest
from elasticdl_nb.runtime.serving.metrics import Metrics
from elasticdl_nb.runtime.serving.model import ServedModel
from elasticdl_nb.runtime.serving.problems import Problem, Refused

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Version:
    """A version that is served."""

    number: int
    model: ServedModel
    batcher: Batcher


class Versions:
    """The current version of the model at a path, replaced as soon as there is a newer one.

    `make` returns the batcher of a model.
    """

    def __init__(self, path: str, make: Callable[[ServedModel], Batcher], metrics: Metrics) -> None:
        self._path, self._make, self._metrics = path, make, metrics
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loading")
        self._found: Found | None = None
        self._current: Version | None = None
        self.problem = ""
        """Why the newest version could not be loaded; empty if it is the one that is served."""

    @property
    def current(self) -> Version:
        """The version that is served; raises Refused while there is none."""
        if self._current is None:
            raise Refused(Problem.NOT_READY, self.problem or "the model is being loaded")
        return self._current

    def get(self, number: int | None) -> Version:
        """Return a version, by default the newest; raises Refused for one that is not served."""
        version = self.current
        if number not in (None, version.number):
            raise Refused(
                Problem.UNKNOWN, f"Servable not found for request: version {number}; {version.number} is served"
            )
        return version

    async def begin(self) -> None:
        """Load the first version; raises OptionError if there is none, and whatever loading it raises."""
        while self._current is None:
            await self._load(must_be_there(self._path))

    async def watch(self, seconds: float) -> None:
        """Look for a newer version every so many seconds, for ever."""
        while True:
            await asyncio.sleep(seconds)
            await self.look()

    async def look(self) -> None:
        """Load the newest version if it is another than the last that was tried; a failure keeps the present one."""
        found = newest(self._path)
        if found is None or found == self._found:
            return
        try:
            await self._load(found)
        except Exception as error:
            self._found = found
            self.problem = str(error) if isinstance(error, ElasticDLError) else f"{type(error).__name__}: {error}"
            self._metrics.load_failed()
            logger.error("version %d of %s cannot be loaded: %s", found.number, self._path, self.problem)

    async def _load(self, found: Found) -> None:
        loop, begun = asyncio.get_running_loop(), time.monotonic()
        try:
            model = await loop.run_in_executor(self._loader, ServedModel, found.path)
        except Exception:
            if mark_of(found.path) == found.mark:
                raise
            return  # it has been removed or replaced meanwhile
        if mark_of(found.path) not in (found.mark, None):  # replaced: files of both may be mixed
            return
        before = self._current
        number = found.number if before is None or found.path != self._path else max(found.number, before.number + 1)
        self._current, self._found, self.problem = Version(number, model, self._make(model)), found, ""
        self._metrics.swapped(number)
        logger.info("version %d of %s was loaded in %.1f s", number, self._path, time.monotonic() - begun)
        if before is not None:
            await before.batcher.drained()
            gc.collect()

    def close(self) -> None:
        """Load no further versions."""
        self._loader.shutdown(wait=False, cancel_futures=True)
