"""The coordinator's state as the JobStatus that watchers receive."""

from __future__ import annotations

from elasticdl_nb.runtime.master.decisions.coordinator import Coordinator
from elasticdl_nb.runtime.master.decisions.picture import Mark
from elasticdl_nb.runtime.master.decisions.suspects import set_aside_messages
from elasticdl_nb.runtime.master.decisions.taskqueue import UNUSABLE
from elasticdl_nb.runtime.protocol import master_pb2 as pb

MOST_GONE = 50
"""Workers that have left or failed, in the status: those that are live are all there."""

MOST_SET_ASIDE = 100
"""Tasks that were set aside, in the status."""

_DETAILS = {
    "starting": "starting the workers",
    "importing": "importing TensorFlow",
    "building": "building the model",
    "waiting": "counting the records",
}


def update(
    coordinator: Coordinator, now: float, date: float, mark: Mark, *, name: str, pid: int
) -> tuple[pb.JobUpdate, Mark]:
    """Return the status for a watcher who has seen the picture up to `mark`, and the new mark.

    `now` is the time of the job's clock, `date` the time of day.
    """
    status = _numbers(coordinator, now)
    status.updated_at = date
    status.name = name
    status.instances.add(role="master", state="running" if not coordinator.is_over else "finished", pid=pid)
    gone = [member for member in coordinator.members() if not member.is_live][MOST_GONE:]
    left_out = {member.name for member in gone}
    for member in coordinator.members():
        if member.name in left_out:
            continue
        status.instances.add(
            role=member.role, index=member.index, state=member.state, pid=member.pid,
            activity=member.obstacle or member.activity, restarts=member.restarts,
            tasks_done=member.tasks_done, records_done=member.records,
            records_per_second=member.rate.per_second(now), rows=member.rows, bytes=member.bytes,
            admitted=member.admitted, evicted=member.evicted,
            exchanging=member.exchanging, hidden=member.hidden,
        )  # fmt: skip
    full, mark = coordinator.picture.fill(status, mark)
    return pb.JobUpdate(full=full, status=status), mark


def _numbers(job: Coordinator, now: float) -> pb.JobStatus:
    spec, kind, queue = job.spec, job.spec.kind, job.queue
    progress = _progress(job)
    elapsed = now - job.running_since
    remaining = -1.0
    if job.is_over:
        remaining = 0.0
    elif job.running_since and progress > 0 and elapsed > 1 and not queue.growing:
        remaining = elapsed * (1 - progress) / progress
    trains = kind == "train"
    return pb.JobStatus(
        kind=kind,
        phase=job.phase,
        detail=_detail(job),
        progress=progress,
        remaining_seconds=remaining,
        epoch=queue.epoch + 1 if trains and not spec.follow else 0,
        num_epochs=spec.num_epochs if trains and not spec.follow else 0,
        records_done=queue.records_done[kind],
        records_total=_total(job),
        records_malformed=queue.records_done["malformed"],
        records_expired=queue.records_done["expired"],
        records_late=queue.records_done["late"],
        records_late_passed=queue.records_done["late_passed"],
        event_time=queue.learnt.newest,
        event_time_oldest=queue.learnt.oldest,
        tasks_done=queue.tasks_done[kind],
        tasks_total=job.tasks_total,
        tasks_retried=queue.tasks_retried,
        records_per_second=0.0 if job.is_over else sum(w.rate.per_second(now) for w in job.workers.live()),
        step=job.step,
        started_at=job.started_at,
        finished_at=job.finished_at,
        failure=job.failure,
        outputs=job.outputs,
        num_workers=sum(worker.is_wanted for worker in job.workers),
        num_ps=spec.num_ps if spec.uses_servers else 0,
        rollbacks=job.rollbacks,
        tasks_set_aside=len(queue.suspects.aside),
        records_set_aside=_set_aside(job),
        set_aside=set_aside_messages(queue.suspects, MOST_SET_ASIDE),
        checkpoint_step=job.saved.newest.step if job.saved.newest else -1,
        kept_checkpoints=[one.step for one in job.saved.complete],
        distribution_strategy=spec.distribution_strategy if trains else "",
        records_untested=job.windows.untested,
        alarms=job.windows.alarms.states,
    )


def _total(job: Coordinator) -> int:
    """The records that were found, as far as is known: of a topic, offsets count until they turn out to have none."""
    return job.records_total - sum(job.queue.records_done[name] for name in UNUSABLE)


def _set_aside(job: Coordinator) -> int:
    return sum(one.records for one in job.queue.suspects.aside.values())


def _progress(job: Coordinator) -> float:
    if job.phase == pb.SUCCEEDED:
        return 1.0
    records = job.queue.records_done[job.spec.kind] + _set_aside(job)
    done = records / total if (total := _total(job)) else 0.0
    if job.spec.kind == "train" and job.steps_total:
        done = max(done, job.step / job.steps_total)
    return min(done, 1.0)


def _detail(job: Coordinator) -> str:
    if job.phase == pb.FAILED and job.failure:
        return job.failure.message
    activities = [worker.activity for worker in job.workers.live() if worker.activity and not worker.obstacle]
    if job.is_over:
        return ""
    if not activities:
        return next((f"{member.name} {member.obstacle}" for member in job.members() if member.obstacle), "")
    if job.waits_for and not job.stopping:
        return f"waiting for {job.waits_for}"
    # What one of them is working on says more than that others are still starting.
    activity = max(activities, key=lambda one: (one not in _DETAILS, activities.count(one)))
    return _DETAILS.get(activity, activity)
