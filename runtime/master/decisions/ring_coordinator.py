"""The coordinator of a job whose workers average their gradients.

All workers that train have the same model, and make every step together. `rendezvous.Rendezvous` decides which workers
those are; what follows for tasks is decided here. A worker's death takes nothing back: the others know how far it was
with its task, and the rest of the task goes to another. The job goes back to its last checkpoint only if all workers
that have the model die.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

from elasticdl_nb.runtime.allreduce.places import Place
from elasticdl_nb.runtime.master.decisions.coordinator import Coordinator
from elasticdl_nb.runtime.master.decisions.membership import Member
from elasticdl_nb.runtime.master.decisions.rendezvous import Formed, Halt, Rendezvous, Report
from elasticdl_nb.runtime.master.decisions.task import Span, Task, tasks_message, tasks_of
from elasticdl_nb.runtime.master.decisions.training_plan import TrainingPlan
from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec

STEAL_FROM = 2
"""If this many tasks wait for a worker without room, others get them."""


class RingCoordinator(Coordinator):
    """See the module's docstring."""

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.rendezvous = Rendezvous(spec.min_workers)
        # Tasks are dealt to workers in turn, so that who asks first does not decide who gets which.
        self._dealt: dict[int, deque[Task]] = {}
        self._turn = 0
        self._without_work: set[int] = set()
        self._departed: dict[int, int] = {}
        self._next_holder = -1
        self._part_of_a_step = 0.0
        self._began = False
        self._first_task = 0
        self._lacking = 0
        self._ring = pb.MasterMessage()

    # ------------------------------------------------------------ processes say something

    def _welcome(self, member: Member, hello: pb.Hello, now: float) -> bool:
        if not super()._welcome(member, hello, now):
            return False
        member.address = hello.data_address
        self._without_work.discard(member.index)
        if hello.again and not self._ending:  # what a dead master sent it may be lost
            if self.rendezvous.to_halt(member.index):
                self._send(member, _regroup(self.rendezvous.generation))
            elif member.index in self.rendezvous.workers and self.rendezvous.is_formed:
                self._send(member, self._ring)
        return True

    def _said(self, member: Member, message: pb.WorkerMessage, now: float) -> None:
        body = message.WhichOneof("body")
        if body == "want":  # it asks again, and needs an answer
            self._without_work.discard(member.index)
        if body != "halted":
            super()._said(member, message, now)
            return
        halted = message.halted
        if halted.generation:
            self.rendezvous.halts(member.index, halted.generation, Report.of(halted))
        else:
            self.rendezvous.arrives(member.index, now)

    # ------------------------------------------------------------ the ring

    def _go_on(self, now: float) -> None:
        self._regroup(now)
        super()._go_on(now)

    def _tick(self, now: float) -> bool:
        """See `Coordinator`."""
        changed = super()._tick(now)
        if self._ending or not self._regroup(now):
            return changed
        self._advance(now)
        return True

    def _regroup(self, now: float) -> bool:
        """Do what the rendezvous requires; return whether there was anything to do."""
        expected = sum(worker.is_wanted and not self.rendezvous.has_arrived(worker.index) for worker in self.workers)
        found = self.rendezvous.look(now, expected)
        if isinstance(found, Halt):
            for index in found.workers:
                self._send(self.workers.members[index], _regroup(found.generation))
        elif isinstance(found, Formed):
            self._formed(found, now)
        lacking, self._lacking = self._lacking, self.rendezvous.lacking
        if self._lacking and self._lacking != lacking:
            self._note("warning", f"training waits for {self.waits_for}")
        return found is not None

    @property
    def waits_for(self) -> str:
        """See `Coordinator`."""
        lacking = self.rendezvous.lacking
        return f"{lacking} more worker(s), as min_workers={self.spec.min_workers}" if lacking else ""

    def _formed(self, formed: Formed, now: float) -> None:
        for index in formed.departed:
            self._settle(self._departed.pop(index, None), index, formed.places.get(index, ()))
        if formed.donor is None and self._began:
            back = self._roll_back()
            self._note("warning", f"no worker with the model is left; training continues from {back}", mark="rollback")
        last = self.saved.path if formed.donor is None else ""
        addresses = [self.workers.members[index].address for index in formed.workers]
        self._ring = pb.MasterMessage(ring=pb.Ring(
            generation=formed.generation, workers=formed.workers, addresses=addresses, donor=formed.donor or 0,
            step=self.step if formed.donor is None else formed.step, restore_from=last,
                first_task=self._first_task,
            hand_over=formed.hand_over or (formed.donor is None and len(formed.workers) > 1),
        ))  # fmt: skip
        self._began = True
        self.borders.host = formed.workers[0]
        self._without_work.clear()
        for index in formed.workers:
            self._send(self.workers.members[index], self._ring)
        names = ", ".join(self.workers.members[index].name for index in formed.workers)
        self._note("info", f"training together: {names}")

    def _settle(self, holder: int | None, index: int, places: Iterable[Place]) -> None:
        """A worker is no longer in the ring: others take what is left of its tasks."""
        if holder is None:  # it is alive, and is dismissed
            self._dealt.pop(index, None)
            worker = self.workers.members[index]
            self._dismiss(worker, "the job continues with fewer workers")
            holder = index
        held = {(task.id, task.attempt): task for task in self.queue.held(holder)}
        for place in places:
            if place.complete and (place.task, place.attempt) in held:
                self.queue.done(place.task, place.attempt, place.records)
        self.queue.lost(
            holder, {place.task: place.records for place in places if (place.task, place.attempt) in held}
        )  # fmt: skip

    # ------------------------------------------------------------ processes leave

    def _worker_gone(self, worker: Member) -> None:
        index = worker.index
        self._stragglers.gone(index)
        self._dealt.pop(index, None)
        self._without_work.discard(index)
        self.borders.gone(index)
        if self.rendezvous.gone(index):
            # The others will report how far it was; another process may have its number by then.
            self.queue.pass_on(index, self._next_holder)
            self._departed[index] = self._next_holder
            self._next_holder -= 1
        else:
            self.queue.lost(index)

    def _scale(self, workers: int, now: float) -> None:
        super()._scale(workers, now)
        self._advance(now)

    def _let_go(self, worker: Member) -> None:
        if not self.rendezvous.leaves(worker.index):
            super()._let_go(worker)

    def _roll_back(self) -> str:
        self._dealt.clear()
        self._without_work.clear()
        self._first_task = self.queue.next_number
        return super()._roll_back()

    def _share_late_tasks(self, now: float) -> bool:
        return False  # all wait for the slowest anyway, and records used twice would count twice

    # ------------------------------------------------------------ tasks

    def _plan(self, pieces: Sequence[Sequence[Span]]) -> None:
        super()._plan(pieces)
        if self.spec.max_step:
            self.steps_total = min(self.steps_total, self.spec.max_step)

    def _plan_of(self, pieces: Sequence[Sequence[Span]]) -> TrainingPlan:
        # How many batches make a step depends on the number of workers: they take care of max_step.
        return replace(super()._plan_of(pieces), max_step=0)

    def _steps_of(self, task: Task) -> int:
        workers = 1 if self.spec.fixed_global_batch else max(1, len(self.rendezvous.workers))
        self._part_of_a_step += super()._steps_of(task) / workers
        whole = int(self._part_of_a_step)
        self._part_of_a_step -= whole
        return whole

    @property
    def _steps_per_epoch(self) -> int:
        workers = 1 if self.spec.fixed_global_batch else max(1, len(self.rendezvous.workers))
        return -(-super()._steps_per_epoch // workers)

    def _may_work(self) -> bool:
        return self.rendezvous.is_formed

    def _has_room(self, worker: Member) -> bool:
        waiting = len(self._dealt.get(worker.index, ()))
        is_in = worker.index in self.rendezvous.workers
        if not is_in or worker.room <= self.queue.count_held(worker.index) - waiting:
            return False
        if not self.queue.suspects:
            return True
        dealt = self._dealt.get(worker.index)
        return not self._must_be_alone(worker, dealt[0] if dealt else self.queue.upcoming())

    def _known_to(self, worker: Member) -> Sequence[Task]:
        waiting = {task.id for task in self._dealt.get(worker.index, ())}
        return [task for task in super()._known_to(worker) if task.id not in waiting]

    def _send_missing(self, worker: Member, held: Iterable[tuple[int, int]]) -> None:
        waiting = {task.id for task in self._dealt.get(worker.index, ())}
        known = {*held, *((task.id, task.attempt) for task in self.queue.held(worker.index) if task.id in waiting)}
        super()._send_missing(worker, known)

    def _hand_out_tasks(self, now: float) -> None:
        hungry = [worker for worker in self.workers.running() if not worker.leave_by and self._has_room(worker)]
        while hungry and not self._ending and self._may_work():
            for worker in list(hungry):
                task = self._next_task(worker)
                if task is not None:
                    self._hand_out(worker, task, now)
                elif worker.index not in self._without_work:
                    self._without_work.add(worker.index)
                    self._send(worker, pb.MasterMessage(no_task=pb.NoTask()))
                if task is None or not self._has_room(worker):
                    hungry.remove(worker)

    def _send_task(self, worker: Member, task: Task) -> None:
        self._without_work.discard(worker.index)
        super()._send_task(worker, task)

    def _next_task(self, worker: Member) -> Task | None:
        """Return the next task that belongs to this worker; those in between are dealt to the others."""
        oldest = self.rendezvous.workers[0]
        if worker.index == oldest:
            task = self.queue.next(oldest, new_training=False, accept=self._is_for_the_oldest)
            if task is not None:
                return task
        if mine := self._dealt.setdefault(worker.index, deque()):
            return mine.popleft()
        while True:
            turn = self.rendezvous.workers[self._turn % len(self.rendezvous.workers)]
            held_up = bool(self.evaluations) or self.borders.holds_back(self.queue)
            task = self.queue.next(turn, new_training=not held_up, accept=self._is_for_all)
            if task is None:
                return self._stolen(worker.index)
            super()._evaluate_if_due(task)
            self._turn += 1
            if turn == worker.index:
                return task
            self._dealt.setdefault(turn, deque()).append(task)

    def _evaluate_if_due(self, task: Task) -> None:
        """This was checked when the task was dealt."""

    def _is_for_all(self, task: Task) -> bool:
        return task.kind == "train" or (not self._is_for_the_oldest(task) and self._may_evaluate(task))

    def _is_for_the_oldest(self, task: Task) -> bool:
        """Callbacks are called in the oldest worker, and may have changed its model when they ended the training."""
        mine = (
            task.kind in ("finish", "callbacks")
            or task.summarize
            or (task.kind == "evaluate" and self.queue.is_stopped)
        )
        return mine and self._may_evaluate(task)

    def _may_evaluate(self, task: Task) -> bool:
        return task.kind != "evaluate" or not self.queue.in_hand("train")

    def _stolen(self, thief: int) -> Task | None:
        index = max(self._dealt, key=lambda one: len(self._dealt[one]), default=thief)
        if len(self._dealt[index]) < STEAL_FROM:
            return None
        task = self._dealt[index].pop()
        self.queue.give(task.id, thief)
        return task

    # ------------------------------------------------------------ the journal

    def _save(self, state: journal.State) -> None:
        super()._save(state)
        dealt = [journal.Dealt(worker=worker, tasks=tasks_message(tasks)) for worker, tasks in self._dealt.items()]
        state.ring.CopyFrom(journal.Ring(
            rendezvous=self.rendezvous.to_message(), dealt=dealt, turn=self._turn, without_work=self._without_work,
            departed=self._departed, next_holder=self._next_holder, part_of_a_step=self._part_of_a_step,
            began=self._began, first_task=self._first_task, lacking=self._lacking, ring=self._ring,
        ))  # fmt: skip

    def load(self, state: journal.State) -> None:
        """See `Coordinator`."""
        super().load(state)
        ring = state.ring
        self.rendezvous.load(ring.rendezvous)
        self._dealt = {dealt.worker: deque(tasks_of(dealt.tasks)) for dealt in ring.dealt}
        self._turn, self._without_work = ring.turn, set(ring.without_work)
        self._departed, self._next_holder = dict(ring.departed), ring.next_holder
        self._part_of_a_step, self._began = ring.part_of_a_step, ring.began
        self._first_task, self._lacking = ring.first_task, ring.lacking
        self._ring = ring.ring


def _regroup(generation: int) -> pb.MasterMessage:
    return pb.MasterMessage(regroup=pb.Regroup(generation=generation))
