"""Requests that come while others are computed are computed together."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.serving.form import Values
from elasticdl_nb.runtime.serving.problems import Problem, Refused

Outputs = dict[str, NDArray[Any]]

MOST_WAITING = 4096
"""Requests that wait at once; more are refused."""


class Predicting(Protocol):
    """What computes a batch."""

    def predict(self, inputs: Values) -> Outputs:
        """Return the outputs for these inputs; raises Refused."""
        ...


@dataclass(eq=False)
class _Waiting:
    inputs: Values
    records: int
    until: float
    result: asyncio.Future[Outputs]

    @property
    def form(self) -> tuple[tuple[np.dtype[Any], tuple[int, ...]], ...]:
        """What requests must share to be computed together."""
        return tuple((value.dtype, value.shape[1:]) for value in self.inputs.values())


class Batcher:
    """Puts requests for one version of a model together; all calls come from one event loop.

    A batch begins as soon as the one before has ended, or `delay` seconds after its first request came, to wait for
    others. It has at most `most` records, unless a single request has more.
    """

    def __init__(
        self, model: Predicting, executor: Executor, most: int = 1024, delay: float = 0.0,
        counted: Callable[[int], None] = lambda records: None,
    ) -> None:  # fmt: skip
        self._model, self._executor, self._most, self._delay, self._counted = model, executor, most, delay, counted
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None

    async def predict(self, inputs: Values, until: float) -> Outputs:
        """Return the outputs for checked inputs; `until` is the deadline by time.monotonic().

        Raises Refused, also if the deadline passes before the request is computed.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise Refused(Problem.TOO_MANY, f"{MOST_WAITING} requests are waiting already; try again later")
        one = _Waiting(inputs, len(next(iter(inputs.values()))), until, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                return await one.result
        except TimeoutError:
            raise _late() from None

    async def drained(self) -> None:
        """Return when no request is waiting or being computed."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while self._waiting:
            if self._delay and sum(one.records for one in self._waiting) < self._most:
                await asyncio.sleep(self._delay)
            batch = self._next()
            if batch:
                await self._compute(batch)

    def _next(self) -> list[_Waiting]:
        """Take the first request and those that can be computed with it; drop those nobody waits for."""
        batch: list[_Waiting] = []
        left: deque[_Waiting] = deque()
        records = 0
        while self._waiting:
            one = self._waiting.popleft()
            if one.result.done():
                continue
            if batch and (one.form != batch[0].form or records + one.records > self._most):
                left.append(one)
                continue
            batch.append(one)
            records += one.records
        self._waiting = left
        return batch

    async def _compute(self, batch: list[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        self._counted(sum(one.records for one in batch))
        try:
            outputs = await loop.run_in_executor(self._executor, self._together, batch)
        except Exception as error:
            if len(batch) > 1:  # only one of them may be at fault
                for one in batch:
                    await self._compute([one])
            elif not batch[0].result.done():
                problem = (
                    error if isinstance(error, Refused) else Refused(Problem.FAILED, f"{type(error).__name__}: {error}")
                )
                batch[0].result.set_exception(problem)
            return
        for one, result in zip(batch, outputs, strict=True):
            if not one.result.done():
                one.result.set_result(result)

    def _together(self, batch: list[_Waiting]) -> list[Outputs]:
        if len(batch) == 1:
            outputs = self._model.predict(batch[0].inputs)
            _check_records(outputs, batch[0].records)
            return [outputs]
        names = list(batch[0].inputs)
        outputs = self._model.predict({name: np.concatenate([one.inputs[name] for one in batch]) for name in names})
        ends = np.cumsum([one.records for one in batch])
        _check_records(outputs, int(ends[-1]))
        parts = {name: np.split(value, ends[:-1]) for name, value in outputs.items()}
        return [{name: part[number] for name, part in parts.items()} for number in range(len(batch))]


def _check_records(outputs: Outputs, records: int) -> None:
    """Raise Refused for outputs that are not one for each record: nobody could say whose they are."""
    for name, value in outputs.items():
        if not value.ndim or len(value) != records:
            raise Refused(
                Problem.FAILED, f"the model's output {name!r} has the shape {list(value.shape)} for {records} records"
            )


def _late() -> Refused:
    return Refused(Problem.TOO_LATE, "the request was not computed before its deadline")
