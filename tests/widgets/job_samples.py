"""Statuses as jobs really have them, for tests of the view."""

from __future__ import annotations

import math
import random

from elasticdl_nb.runtime.protocol import master_pb2 as pb

STARTED = 1_760_000_000.0

TRACEBACK = """Traceback (most recent call last):
  File "runtime/worker/loop.py", line 212, in run_task
    loss = self._trainer.step(batch)
  File "/home/ada/zoo/flights.py", line 31, in call
    return self.dense(inputs["delay"] @ self.kernel)
ValueError: Matrix size-incompatible: In[0]: [256,12], In[1]: [10,64]
"""


def worker(index: int, **changes: object) -> pb.Instance:
    values: dict[str, object] = {
        "role": "worker", "index": index, "state": "running", "activity": "training", "tasks_done": 12 + index,
        "records_done": 98_304 + 4096 * index, "records_per_second": 4100.0 - 370 * index, "pid": 4000 + index,
    }  # fmt: skip
    return pb.Instance(**(values | changes))


def running(points: int = 500, workers: int = 3, noise: float = 0.04) -> pb.JobStatus:
    chance = random.Random(7)
    status = pb.JobStatus(
        name="flights-deepfm", kind="train", phase=pb.RUNNING, detail="training", progress=0.437,
        remaining_seconds=132, epoch=2, num_epochs=3, records_done=412_160, records_total=943_000, tasks_done=101,
        tasks_total=231, tasks_retried=1, records_per_second=8312, step=4 * points, started_at=STARTED,
        updated_at=STARTED + 83, distribution_strategy="ParameterServerStrategy",
        dashboard_url="http://127.0.0.1:41233/?token=abc", num_workers=workers, num_ps=2, rollbacks=1,
        checkpoint_step=4 * points // 3,
    )  # fmt: skip
    for place in range(points):
        clean = 0.28 + 0.42 * math.exp(-place / (points / 5))
        status.losses.add(step=4 * place + 4, loss=max(0.01, clean + chance.gauss(0, noise)), time=STARTED + place / 6)
    for place in range(5):
        share = 1 - math.exp(-place / 1.5)
        status.evaluations.add(
            step=400 * (place + 1), time=STARTED + 16 * place, records=20_000,
            metrics={"accuracy": 0.71 + 0.2 * share, "auc": 0.66 + 0.25 * share,
                     "mean_squared_error": 0.3 - 0.2 * share},
        )  # fmt: skip
    status.instances.add(role="master", state="running", pid=3999)
    for index in range(2):
        status.instances.add(role="ps", index=index, state="running", activity="serving", pid=4100 + index,
                             rows=412_000 - index, bytes=52_736_000, restarts=index)  # fmt: skip
    status.instances.extend(worker(index) for index in range(workers))
    if workers > 2:
        status.instances[-1].MergeFrom(pb.Instance(state="restarting", activity="importing", restarts=1))
        status.instances[-1].records_per_second = 0
    for after, level, source, text in (
        (0.2, "info", "master", "3 workers and 2 parameter servers wanted"),
        (5.1, "info", "worker-0", "first step after 4.9s"),
        (64.0, "warning", "worker-2", "killed by signal 9; its task goes to another worker"),
        (64.1, "info", "master", "worker-2 is restarted"),
    ):
        status.events.add(time=STARTED + after, level=level, source=source, text=text)
    return status


def starting() -> pb.JobStatus:
    return pb.JobStatus(
        name="flights-deepfm", kind="train", phase=pb.STARTING, detail="starting workers", remaining_seconds=-1,
        num_epochs=3, epoch=1, records_total=943_000, tasks_total=231, started_at=STARTED, updated_at=STARTED + 2,
        instances=[worker(0, state="starting", activity="importing", tasks_done=0, records_done=0,
                          records_per_second=0)],
    )  # fmt: skip


def succeeded() -> pb.JobStatus:
    status = running()
    status.MergeFrom(pb.JobStatus(phase=pb.SUCCEEDED, progress=1, epoch=3, finished_at=STARTED + 214))
    status.detail = ""
    status.records_done, status.tasks_done = status.records_total, status.tasks_total
    for instance in status.instances:
        instance.state, instance.activity, instance.records_per_second = "finished", "", 0
    status.outputs.append("trained model written to /home/ada/models/flights")
    return status


def failed() -> pb.JobStatus:
    status = running(60)
    status.phase = pb.FAILED
    status.finished_at = STARTED + 90
    status.detail = "a task failed"
    status.failure.message = (
        "The model's code failed in worker-1 (flights.py, line 31): ValueError: Matrix size-incompatible: "
        "In[0]: [256,12], In[1]: [10,64]"
    )
    status.failure.traceback = TRACEBACK
    for instance in status.instances:
        instance.state, instance.records_per_second = "stopped", 0
    status.instances[4].state = "failed"
    return status


def cancelled() -> pb.JobStatus:
    status = running(100)
    status.phase, status.detail, status.finished_at = pb.CANCELLED, "cancelled by its user", STARTED + 90
    return status


def finishing() -> pb.JobStatus:
    status = running()
    status.MergeFrom(pb.JobStatus(phase=pb.FINISHING, detail="writing the trained model", progress=0.99))
    return status


def prediction() -> pb.JobStatus:
    return pb.JobStatus(
        name="predict-1", kind="predict", phase=pb.RUNNING, progress=0.2, remaining_seconds=4, records_done=20_000,
        records_total=100_000, tasks_done=2, tasks_total=10, records_per_second=51_000, started_at=STARTED,
        updated_at=STARTED + 6, instances=[worker(0, activity="predicting")], distribution_strategy="Local",
    )  # fmt: skip


def prequential() -> pb.JobStatus:
    """A job that tests records before it learns them."""
    status = running(points=20)
    for number in range(1, 4):
        status.windows.add(
            number=number, step=600 * number, tested=10_000 * number, records=10_000, time=STARTED + 20 * number,
            metrics={"auc": 0.61 + 0.05 * number, "calibration": 1.02},
        )  # fmt: skip
    status.records_untested = 64
    status.alarms.add(bound="auc<0.8", on=True)
    status.alarms.add(bound="loss>1")
    return status


ALL = {
    "starting": starting, "running": running, "finishing": finishing, "succeeded": succeeded, "failed": failed,
    "cancelled": cancelled, "prediction": prediction,
}  # fmt: skip
