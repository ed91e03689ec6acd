"""The order in which a training job uses its data. A plain object."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from elasticdl_nb.runtime.master.decisions.task import Span


@dataclass(frozen=True)
class TrainingPlan:
    """What there is to train on, and how often."""

    pieces: Sequence[Sequence[Span]]
    num_epochs: int = 1
    minibatch_size: int = 64
    max_step: int = 0
    shuffle: bool = True
    seed: int = 0
    grows: bool = False
    forgotten: int = 0
    """How many pieces came before the first of `pieces`, of data that grows."""

    @property
    def end(self) -> int:
        """The number of pieces so far, those that were forgotten included."""
        return self.forgotten + len(self.pieces)

    def grown(self, pieces: Sequence[Sequence[Span]]) -> TrainingPlan:
        """Return the plan with more pieces at its end."""
        return replace(self, pieces=[*self.pieces, *pieces])

    def without(self, before: int) -> TrainingPlan:
        """Return the plan without the pieces before this one, counted from the very first."""
        if before <= self.forgotten:
            return self
        return replace(self, pieces=self.pieces[before - self.forgotten :], forgotten=before)

    def order(self, epoch: int) -> list[int]:
        """Indices of the pieces, in the order in which this epoch hands them out."""
        indices = list(range(len(self.pieces)))
        if self.shuffle:
            random.Random(f"{self.seed}/{epoch}").shuffle(indices)
        return indices

    def steps(self, spans: Sequence[Span]) -> int:
        """How many batches these records make."""
        return math.ceil(sum(end - start for _, start, end in spans) / self.minibatch_size)

    def totals(self) -> tuple[int, int, int]:
        """(tasks, records, steps) of the whole training, `max_step` taken into account."""
        records = sum(end - start for spans in self.pieces for _, start, end in spans)
        steps = sum(map(self.steps, self.pieces))
        whole = self.num_epochs
        if self.max_step and steps:
            whole = min(whole, self.max_step // steps)
        tasks, records, steps = whole * len(self.pieces), whole * records, whole * steps
        if whole < self.num_epochs:  # the epoch that reaches max_step
            for index in self.order(whole):
                spans = self.trim(self.pieces[index], steps)
                if not spans:
                    break
                tasks += 1
                records += sum(end - start for _, start, end in spans)
                steps += self.steps(spans)
        return tasks, records, steps

    def trim(self, spans: Sequence[Span], steps_before: int) -> tuple[Span, ...]:
        """Shorten a piece that would exceed `max_step`."""
        if not self.max_step or steps_before + self.steps(spans) <= self.max_step:
            return tuple(spans)
        left = (self.max_step - steps_before) * self.minibatch_size
        kept: list[Span] = []
        for path, start, end in spans:
            if left > 0:
                kept.append((path, start, min(end, start + left)))
                left -= end - start
        return tuple(kept)
