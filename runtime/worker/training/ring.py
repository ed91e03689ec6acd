"""Training steps that all workers make together, each with its own part of the batch.

Every worker has the whole model, and it is the same everywhere after every step. Between two steps a worker works on
its own; before each step all workers exchange what they bring (`Entry`), which may be nothing. A worker without a batch
sleeps until a neighbour begins.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from elasticdl_nb.runtime.allreduce.collective import Alone, Collective, RingBroken
from elasticdl_nb.runtime.allreduce.connect import Listener
from elasticdl_nb.runtime.allreduce.overlap import Exchanged
from elasticdl_nb.runtime.allreduce.places import NOWHERE, Entry, Place
from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.loading.compiling import Optimizers, rate_is_set
from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.model.saving.kept import settle
from elasticdl_nb.runtime.model.saving.state import ModelState
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.worker.batches import batch_size
from elasticdl_nb.runtime.worker.orders import READ_AHEAD, TaskVoid
from elasticdl_nb.runtime.worker.session import WorkerSession
from elasticdl_nb.runtime.worker.training.base import Logs, loss_of
from elasticdl_nb.runtime.worker.training.misfits import check_even, check_for_ring, note_on_embeddings
from elasticdl_nb.runtime.worker.training.own_step import OwnStep
from elasticdl_nb.runtime.worker.training.ring_step import RingStep
from elasticdl_nb.runtime.worker.training.slices import slices
from elasticdl_nb.runtime.worker.training.whole import WholeModelTrainer

ASKED_SECONDS = 5.0
"""How long a worker waits for the master's word on whether it has a task, when a neighbour has one."""
ANSWER_SECONDS = 0.5
"""How long a worker with reports to send waits for the answer to earlier ones."""


class AllreduceTrainer(WholeModelTrainer):
    """One of many trainers that make the same steps. `on_step` is called after each step, in the oldest worker.

    Callbacks are called only in the oldest worker; changes they make to the learning rate, and an end of training,
    apply to all workers. Every method that makes steps raises Dismissed when the worker is dismissed, and TaskVoid when
    the job has gone back to a checkpoint.
    """

    _others_train = True

    def __init__(
        self, spec: JobSpec, loaded: LoadedModel, session: WorkerSession, element_spec: Any,
        on_loss: Callable[[int, float], None], *, number: int, listener: Listener,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._own_step: OwnStep | None = None
        super().__init__(spec, loaded, session, element_spec, on_loss)
        if spec.num_workers > 1 and (note := note_on_embeddings(self.model)):
            session.note("info", note)
        self._on_step = on_step
        self._is_new = True
        self._number, self._listener, self._orders = number, listener, session.orders
        self._element_spec = element_spec
        self._state = self._own_step.state if self._own_step else ModelState(self.model, self.optimizer)
        self._rate_is_set = self.optimizer is not None and rate_is_set(self.optimizer)
        self._step_of_all: RingStep | OwnStep | None = self._own_step
        self._collective: Collective = Alone()
        self._ring = pb.Ring()
        self._is_in_ring = False
        self._has_model = False
        self._own: Logs = {}
        self._epoch = self._measured = -1
        self._places: dict[int, tuple[Place, ...]] = {}
        self._here, self._earlier = NOWHERE, NOWHERE
        self._unsafe: list[Callable[[], None]] = []
        self._orders.on_regroup = self._leave_if_told
        session.holding = lambda: self._step_of_all.exchanged if self._step_of_all else Exchanged()

    def _check(self) -> None:
        super()._check()
        check_for_ring(self._loaded, self._spec)

    @property
    def _is_alone(self) -> bool:
        return self._spec.num_workers == 1

    def _share_model(self) -> None:
        """See `Trainer`. The others wait for a step of this worker, which is the oldest."""
        kept = self._state.read()
        while True:
            self._be_in_ring()
            if self._collective.world == 1:
                return
            step = self._together
            step.begin(self._collective, replace(self._entry(0, self._here), gives=True))
            try:
                self._follow(step.result())
                return
            except RingBroken:
                self._rejoin()
                self._state.write(kept)

    def _compiled(self, element_spec: Any) -> Callable[..., Logs]:
        if not self._makes_own_steps:
            return super()._compiled(element_spec)
        self._own_step = OwnStep(self._loaded, element_spec)
        return self._own_step.alone

    def _optimizers(self) -> Any:
        return Optimizers(self.model) if self._makes_own_steps else super()._optimizers()

    @property
    def _together(self) -> RingStep | OwnStep:
        """The step that all workers make."""
        if self._step_of_all is None:
            self._step_of_all = RingStep(self._loaded, self.optimizer, self._element_spec)
        return self._step_of_all

    def warm_up(self) -> None:
        """Compile what the first step needs, so that no worker has to wait for it."""
        kept = self._state.read()
        self._together.warm_up(self._spec.minibatch_size)
        self._state.write(kept)

    # ------------------------------------------------------------ the ring

    @property
    def is_oldest(self) -> bool:
        """Whether this worker speaks for all."""
        return self._collective.rank == 0

    def _leave_if_told(self) -> None:
        """In the session's thread: stop waiting for neighbours, which may no longer be waiting for this worker."""
        if self._is_in_ring and self._orders.is_to_leave(self._ring.generation):
            self._collective.abort()

    def _leave(self) -> None:
        self._is_in_ring = False
        self._collective.close()

    def _be_in_ring(self) -> None:
        if not self._is_in_ring or self._is_to_leave:
            self._rejoin()

    def _rejoin(self) -> bool:
        """Leave the ring and join the next one; return whether the step under way is in the model already."""
        step = self.step
        self._session.activity("waiting")
        while True:
            self._leave()
            self._session.send(halted=pb.Halted(
                generation=self._ring.generation, has_model=self._has_model, step=self.step, places=self.places(),
            ))  # fmt: skip
            self._ring = self._orders.next_ring(after=self._ring.generation)
            try:
                self._enter()
                break
            except RingBroken:
                continue
        self._session.activity("training")
        if self._here.task and self._here.task < self._ring.first_task:
            raise TaskVoid
        return self.step > step

    def _enter(self) -> None:
        ring = self._ring
        rank = list(ring.workers).index(self._number)
        self._collective = self._listener.connect(
            ring.generation, rank, ring.addresses, compression=self._spec.compression,
            given_up=lambda: self._orders.is_to_leave(ring.generation) or self._orders.dismissed,
        )  # fmt: skip
        if rank == ring.donor:
            if ring.restore_from:
                self.restore(ring.restore_from, keep_step=True)
            self._has_model = True
        if ring.restore_from:
            self.epochs.forget()
            self._measured = -1
        if ring.hand_over:
            self._hand_over(rank == ring.donor, ring.donor)
        self._has_model = self._is_in_ring = True
        self.callbacks.in_charge = rank == 0

    def _hand_over(self, gives: bool, donor: int) -> None:
        """Give the model to all, or receive it: all of it, or nothing."""
        told = {"step": self.step, "places": {n: list(map(asdict, p)) for n, p in self._places.items()}}
        text = json.dumps(told).encode()
        forms = self._collective.gather(f"{self._state.form}{len(text):16}".encode())
        if any(form[:-16] != forms[0][:-16] for form in forms):
            raise ModelError("the model is not the same in all workers; does its structure depend on anything random?")
        size = int(forms[donor][-16:])
        message = np.frombuffer(text, np.uint8).copy() if gives else np.empty(size, np.uint8)
        values = self._state.read() if gives else np.empty(self._state.nbytes, np.uint8)
        self._collective.broadcast(message, donor)
        self._collective.broadcast(values, donor)
        if gives:
            return
        told = json.loads(message.tobytes())
        self._state.write(values)
        settle(self.model)
        self._state.diversify((self._ring.generation << 16) + self._collective.rank)
        self.step = told["step"]
        self._places = {int(n): tuple(Place(**place) for place in places) for n, places in told["places"].items()}

    def places(self) -> list[pb.Place]:
        """How far each worker had got with its tasks after the last step."""
        return [
            pb.Place(
                worker=number, task=place.task, attempt=place.attempt, records=place.records, complete=place.complete
            )
            for number, places in self._places.items() for place in places
        ]  # fmt: skip

    # ------------------------------------------------------------ tasks

    def train(self, task: pb.Task, batches: Iterator[Any]) -> int:
        """See `Trainer.train`; the count includes the task's records that were in the model before."""
        self._here, self._epoch = Place(task.id, task.attempt, task.skip), task.epoch
        complete = False
        try:
            complete = self._make_steps(task.epoch, slices(batches, task.skip, self._share))
        finally:
            self._earlier, self._here = replace(self._here, complete=complete), NOWHERE
        return self.records_kept

    @property
    def records_kept(self) -> int:
        """See `Trainer`."""
        return self._earlier.records

    def _share(self, records: int) -> int:
        """How many records of a batch this worker uses in its next step."""
        if not self._spec.fixed_global_batch:
            return records
        self._be_in_ring()
        rank, world = self._collective.rank, self._collective.world
        return max(1, self._spec.minibatch_size // world + (rank < self._spec.minibatch_size % world))

    def when_safe(self, call: Callable[[], None]) -> None:
        """See `Trainer`. The steps are safe once all workers have begun the next one, and so have finished this one."""
        self._unsafe.append(call)
        if self._collective.world == 1:
            self._report()

    def take_part(self, until: Callable[[], bool]) -> None:
        """Make the others' steps with them until there is something to do; `RingOrders.wake` is the signal to look."""
        asleep = True
        while not until() and not self._orders.dismissed:
            if not self._is_in_ring or self._is_to_leave:
                self._rejoin()
            elif self._collective.world == 1 and self._unsafe:
                self._report()
            elif not (self._orders.no_work or self._has_waited(until)):
                continue  # a task may be on its way, and then the others must wait for this worker
            elif self._unsafe:
                self._step_without_batch()
            elif self._orders.wait_for(self._collective.fileno()):
                if asleep:
                    self._wait_for(until)
                if not until():
                    asleep = not self._step_without_batch()  # which may have been about the model alone

    def _has_waited(self, ready: Callable[[], bool]) -> bool:
        """Wait for the master's next order; return whether none can come while reports are held back."""
        heard = self._orders.wait(timeout=ANSWER_SECONDS if self._unsafe else None)
        return bool(self._unsafe) and not (heard or ready())

    def _wait_for(self, ready: Callable[[], bool]) -> None:
        """A neighbour begins a step: this worker may have a task, too, which is on its way and belongs to that step."""
        limit = None
        if self._orders.no_work and not ready():
            limit = time.monotonic() + ASKED_SECONDS
            self._orders.forget_no_work()
            self._session.send(want=pb.Want(tasks=READ_AHEAD))
        while not self._orders.no_work and not (ready() or self._orders.dismissed or self._is_to_leave):
            left = None if limit is None else limit - time.monotonic()
            if left is not None and left <= 0:
                return
            self._orders.wait(left)

    @property
    def _is_to_leave(self) -> bool:
        return self._orders.is_to_leave(self._ring.generation)

    # ------------------------------------------------------------ steps

    def _make_step(self, batch: Any) -> Logs | None:
        """Make a step with all others; return its mean loss, or None if the others completed it without this worker."""
        self._be_in_ring()
        if self._is_new and self._spec.num_workers > 1 and (note := self._check_even(batch)):
            self._session.note("info", note)
        self._is_new = False
        size = batch_size(batch[0])
        after = replace(self._here, records=self._here.records + size)
        if self._collective.world == 1:
            logs: Logs | None = self._apply_batch(*batch)
            assert logs is not None
            self._own = logs
            self._made([Entry(size, after, self._earlier)], loss_of(logs))
            self._on_step()
        else:
            logs = self._step_together(batch, size, after)
        if not self.stopped or logs is not None:
            self._here = after
            self._session.progress(self.step, size)
            self.epochs.used(loss_of(self._own), size)
        if logs is None or self._own_step:
            return None if logs is None else self._own
        return {name: logs.get(name, value) for name, value in self._own.items()}

    def _step_together(self, batch: Any, size: int, after: Place) -> Logs | None:
        step = self._together
        computed = False
        while True:
            step.begin(self._collective, self._entry(size, after), again=computed)
            try:
                if not computed:
                    self._compute(step, batch)
                computed = True
                entries = step.result()
            except RingBroken:
                if self._rejoin():
                    return None
                continue
            logs = self._follow(entries)
            if not entries[0].gives:
                return logs
            computed = False  # with another model

    def _check_even(self, batch: Any) -> str:
        return self._own_step.judge(batch) if self._own_step else check_even(self._loaded, batch)

    def _compute(self, step: RingStep | OwnStep, batch: Any) -> None:
        try:
            self._own = step.compute(batch)
        except BaseException:
            # The others would wait in vain for this worker's part.
            step.cancel()
            self._leave()
            raise

    def _step_without_batch(self) -> bool:
        """Take part in the others' step; return whether it was one of training."""
        step = self._together
        step.begin(self._collective, self._entry(0, self._here))
        try:
            return self._follow(step.result()) is not None
        except RingBroken:
            self._rejoin()
        return False

    def _entry(self, records: int, after: Place) -> Entry:
        rate = float(self.optimizer.learning_rate) if self._rate_is_set else 0.0
        return Entry(records, after, self._earlier, rate, bool(self.stopped), epoch=self._epoch)

    def _begin_measuring(self, epoch: int) -> None:
        """See `Trainer`. Other workers may have begun before: metrics count all records of an epoch."""
        if epoch != self._measured:
            self._measured = epoch
            super()._begin_measuring(epoch)

    def _follow(self, entries: list[Entry]) -> Logs | None:
        """All have brought what they have: make the step, if there is one; return its logs."""
        logs = None
        oldest = entries[0]
        if oldest.gives:
            self._hand_over(self.is_oldest, 0)
        elif oldest.stops:
            self.stopped = self.stopped or f"a callback ended it after step {self.step}"
        elif any(entry.records for entry in entries):
            if self._rate_is_set and float(self.optimizer.learning_rate) != oldest.rate:
                self.optimizer.learning_rate = oldest.rate
            epoch = max(entry.epoch for entry in entries if entry.records)
            if not (self._here.task and self._epoch < epoch):  # not while it has records of the epoch before
                self._begin_measuring(epoch)
            logs = self._together.apply(entries)
            self._made(entries, logs["loss"])
        self._report()
        if logs is not None and self.is_oldest:
            self._on_step()
        return logs

    def _report(self) -> None:
        """All have begun a step: the ones before it are safe."""
        calls, self._unsafe = self._unsafe, []
        for call in calls:
            call()

    def _made(self, entries: list[Entry], loss: Any) -> None:
        self.step += 1
        self._places = {number: entry.places for number, entry in zip(self._ring.workers, entries, strict=True)}
        if self.is_oldest:
            self._note_loss(loss)
