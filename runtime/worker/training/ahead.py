"""The next batch is prepared in another thread while the step with this one is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class LookingAhead(Generic[T]):
    """Prepares batches by `prepare`; `beside` says whether in another thread, before the step before is made.

    What goes wrong with a batch, or while it is read, is raised when its turn has come.
    """

    def __init__(self, prepare: Callable[[Any], T], *, beside: bool = True) -> None:
        self._prepare, self._beside = prepare, beside
        self._pool: ThreadPoolExecutor | None = None
        self._now: tuple[Any, Future[T]] | None = None

    def over(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield the batches; `prepared` has the result for the one yielded last."""
        if not self._beside:
            yield from batches
            return
        self._pool = self._pool or ThreadPoolExecutor(1, thread_name_prefix="ahead")
        following = self._next(batches)
        try:
            while following is not None:
                if isinstance(following, Exception):
                    raise following
                self._now, following = following, self._next(batches)
                yield self._now[0]
        finally:
            self._now = None

    def _next(self, batches: Iterator[Any]) -> tuple[Any, Future[T]] | Exception | None:
        assert self._pool is not None
        try:
            batch = next(batches)
        except StopIteration:
            return None
        except Exception as error:  # belongs to the turn of the batch that could not be read
            return error
        return batch, self._pool.submit(self._prepare, batch)

    def prepared(self, batch: Any) -> T:
        """Return the result for a batch."""
        if self._now is None:
            return self._prepare(batch)
        return self._now[1].result()
