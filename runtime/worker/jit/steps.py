"""Steps that are compiled where that is faster: the thin shell around `trial`, with a clock and a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.model.flat import Flat
from elasticdl_nb.runtime.worker.feed import StreamBatches
from elasticdl_nb.runtime.worker.jit.attempt import Compiled, loss_of
from elasticdl_nb.runtime.worker.jit.fitness import Unfit
from elasticdl_nb.runtime.worker.jit.graphs import StepGraph
from elasticdl_nb.runtime.worker.jit.several import Preparing, SeveralSteps
from elasticdl_nb.runtime.worker.jit.trial import Stage, Trial, Way

MOST_FORMS = 4
"""How many shapes of batches are compiled for one model; more are made by the graph, which takes any."""
_MOST_TRIALS = 32

Jit = Literal["auto", "true", "false"]
Step = Callable[..., Any]
Shapes = tuple[Any, ...]


class MeasuredSteps:
    """Makes a step with each batch, by the graph or compiled.

    `step(*parts of a batch)` is what to compile, for batches of the form `element_spec`, whose tensors are plain ones.
    `graph` makes a step of a batch of any shape, if that is not simply the graph of `step`. With "true", everything
    that can be is compiled. `left()` returns how many steps are to come, and `note` tells users what was decided.
    """

    def __init__(
        self, step: Step, element_spec: Any, *, jit: Jit, note: Callable[[str, str], None],
        left: Callable[[], float], graph: Step | None = None,
    ) -> None:  # fmt: skip
        self._step, self._spec, self._given = step, element_spec, graph
        self._note, self._left = note, left
        self._at_once, self._is_over = jit == "true", jit == "false"
        self._graph: StepGraph | None = None
        self._trials: dict[Shapes, Trial] = {}
        self._compiled: dict[Shapes, Compiled] = {}
        self._under_way: _Attempt | None = None
        self._latest: Shapes = ()
        self._is_prepared = False
        self._preparing: Preparing | None = None

    def __call__(self, *batch: Any) -> Any:
        """Make a step; return what `step` returns."""
        flat = tf.nest.flatten(batch)
        if not all(isinstance(one, tf.Tensor) for one in flat):
            return self._by_graph(batch, flat)
        shapes = tuple(one.shape for one in flat)
        trial = self._trials.get(shapes) or self._begun(shapes)
        if trial is None or trial.stage is Stage.DECIDED:
            if trial is not None and trial.way is Way.COMPILED:
                return self._compiled[shapes](flat)
            return self._by_graph(batch, flat)
        return self._tried(trial, shapes, batch, flat)

    def _begun(self, shapes: Shapes) -> Trial | None:
        if self._is_over or len(self._trials) >= _MOST_TRIALS:
            return None
        self._trials[shapes] = trial = Trial(at_once=self._at_once)
        if self._at_once and len(self._trials) == 1:
            trial.wanted_now()
        return trial

    def _by_graph(self, batch: Any, flat: Flat) -> Any:
        if self._given is not None:
            return self._given(*batch)
        return self._reference()(flat)

    def _reference(self) -> StepGraph:
        if self._graph is None:
            self._graph = StepGraph(self._step, self._spec)
        return self._graph

    # ------------------------------------------------------------ several

    def several(self, batches: StreamBatches) -> SeveralSteps | None:
        """Return what makes several steps with the next batches in one call; None if one step is to be made by itself.

        That is so until they are prepared, beside training, while both ways are timed, for compiled steps (XLA would
        compile them once more within a loop, as training waits), and for steps that would give other results.
        """
        if self._graph is None or self._given is not None:
            return None
        self._latest = shapes = tuple(one.shape for one in tf.nest.flatten(batches.peek()))
        trial = self._trials.get(shapes)
        if trial is None and not self._is_over:
            return None
        if self._compiled or (trial is not None and trial.stage in (Stage.WANTED, Stage.TIMING)):
            return None
        if not self._is_prepared:
            self._is_prepared, self._preparing = True, self._prepare()
        return None if self._preparing is None else self._preparing.ready

    def _prepare(self) -> Preparing | None:
        graph = self._reference()
        if graph.draws_by_itself():
            return None
        try:
            return Preparing(SeveralSteps(graph.within, self._spec, graph.returns))
        except ValueError:
            return None

    def several_made(self, count: int, seconds: float) -> None:
        """What `several` returned has made so many steps, in so many seconds."""
        if trial := self._trials.get(self._latest):
            trial.steps_made(count, seconds, self._left())

    # ------------------------------------------------------------ trying

    def _tried(self, trial: Trial, shapes: Shapes, batch: Any, flat: Flat) -> Any:
        if trial.stage is Stage.WANTED:
            if self._is_over:
                trial.failed()
            else:
                self._attempt(trial, shapes, flat)
        began = time.perf_counter()
        logs = self._compiled[shapes](flat) if trial.way is Way.COMPILED else self._by_graph(batch, flat)
        if trial.stage is Stage.TIMING:
            np.asarray(loss_of(logs))  # a GPU may still be at it
        was = trial.stage
        trial.step_made(time.perf_counter() - began, self._left())
        if was is Stage.TIMING and trial.stage is Stage.DECIDED:
            self._say(trial, shapes, flat)
        return logs

    def _attempt(self, trial: Trial, shapes: Shapes, flat: Flat) -> None:
        """Begin to compile, or look whether that is over."""
        if self._under_way is None:
            if len(self._compiled) >= MOST_FORMS:
                trial.failed()
                return
            try:
                compiled = Compiled(self._step, self._spec, self._reference(), flat, strictly=not self._at_once)
            except Unfit as reason:
                self._failed(trial, reason)
                return
            self._under_way = _Attempt(trial, shapes, compiled)
            if self._at_once:
                self._under_way.join()
        attempt = self._under_way
        if attempt.trial is not trial or attempt.is_alive():
            return
        self._under_way = None
        if attempt.reason is not None:
            self._failed(trial, attempt.reason)
            return
        self._compiled[shapes] = attempt.compiled
        trial.compiled()

    def _failed(self, trial: Trial, reason: Unfit) -> None:
        trial.failed()
        self._is_over = True  # batches of other shapes would not do better
        self._note("warning" if self._at_once else "info", f"jit_compile: steps are not compiled: {reason}")

    def _say(self, trial: Trial, shapes: Shapes, flat: Flat) -> None:
        """Tell users what was measured."""
        of = {way: f"{seconds * 1e3:.3g} ms" for way, seconds in trial.seconds.items()}
        chosen = "so they are compiled" if trial.way is Way.COMPILED else "so they are not compiled"
        self._note(
            "info",
            f"jit_compile: steps of {flat[0].shape[0]} records take {of[Way.COMPILED]} compiled and {of[Way.GRAPH]} "
            f"not compiled, {chosen}",
        )
        if trial.way is Way.GRAPH:
            del self._compiled[shapes]


class _Attempt(threading.Thread):
    """Compiles a step beside training; `reason` says why it failed, once the thread has ended."""

    def __init__(self, trial: Trial, shapes: Shapes, compiled: Compiled) -> None:
        super().__init__(name="compiling", daemon=True)
        self.trial, self.shapes, self.compiled = trial, shapes, compiled
        self.reason: Unfit | None = None
        self.start()

    def run(self) -> None:
        """Compile."""
        try:
            self.compiled.compile()
        except Unfit as reason:
            self.reason = reason
        except Exception as error:  # whatever it is, training goes on as it was
            self.reason = Unfit(str(error))
