"""The next batches are prepared in another thread while the step with this one is computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class LookingAhead(Generic[T]):
    """Prepares batches by `prepare`; `beside` says whether in another thread, so many of them `ahead` of their turn.

    What goes wrong with a batch, or while it is read, is raised when its turn has come.
    """

    def __init__(self, prepare: Callable[[Any], T], *, ahead: int = 1, beside: bool = True) -> None:
        self._prepare, self._many, self._beside = prepare, ahead, beside
        self._pool: ThreadPoolExecutor | None = None
        self._known: deque[tuple[Any, Future[T]]] = deque()

    def over(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield the batches; `prepared` has the result for the one yielded last."""
        if not self._beside:
            yield from batches
            return
        self._pool = self._pool or ThreadPoolExecutor(1, thread_name_prefix="ahead")
        known = self._known = deque()  # an earlier iteration that was given up may still be closed
        is_over, error = False, None
        try:
            while True:
                while not is_over and len(known) <= self._many:
                    try:
                        batch = next(batches)
                    except StopIteration:
                        is_over = True
                    except Exception as reason:  # belongs to the turn of the batch that could not be read
                        is_over, error = True, reason
                    else:
                        known.append((batch, self._pool.submit(self._prepare, batch)))
                if not known:
                    break
                yield known[0][0]
                known.popleft()
        finally:
            known.clear()
        if error is not None:
            raise error

    def prepared(self, batch: Any) -> T:
        """Return the result for a batch: the one yielded last, or one outside of an iteration."""
        return self._known[0][1].result() if self._known else self._prepare(batch)

    def following(self, number: int) -> T | None:
        """Return the result for the batch so many after the one yielded last; None if there is none yet."""
        if number >= len(self._known):
            return None
        future = self._known[number][1]
        return future.result() if future.exception() is None else None
