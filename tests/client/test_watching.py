from __future__ import annotations

import itertools
import math
import threading

import pytest
from scripted_master import ScriptedMaster, make_folder

from elasticdl_nb.job import Job
from elasticdl_nb.runtime.control.masterclient import MasterClient, current_status, watch_job
from elasticdl_nb.runtime.errors import JobCancelled, JobFailed, JobNotFound
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.storage.jobfolder import JobFolder


def in_background(function, *arguments, **options) -> threading.Thread:
    thread = threading.Thread(target=function, args=arguments, kwargs=options)
    thread.start()
    return thread


def test_a_watcher_gets_the_whole_picture_and_then_every_change(folder, master):
    master.set(losses=[pb.LossPoint(step=1, loss=3)], progress=0.1)
    seen = watch_job(folder)
    assert next(seen).progress == pytest.approx(0.1)
    master.change(progress=0.2, losses=[pb.LossPoint(step=2, loss=2)])
    status = next(seen)
    assert status.progress == pytest.approx(0.2)
    assert [point.step for point in status.losses] == [1, 2]
    master.end(pb.SUCCEEDED)
    assert [status.phase for status in seen][-1] == pb.SUCCEEDED


def test_a_watcher_finds_the_master_again_after_a_lost_connection(folder, master):
    seen = watch_job(folder)
    next(seen)
    master.drop_watchers()
    master.set(progress=0.5)
    assert next(itertools.dropwhile(lambda status: not status.progress, seen)).progress == 0.5
    master.end(pb.SUCCEEDED)
    assert list(seen)[-1].phase == pb.SUCCEEDED


def test_a_wrong_token_is_turned_down(folder, master):
    with MasterClient(folder.master()["address"], "guess") as client:
        with pytest.raises(ConnectionError, match="wrong token"):
            client.status()
        with pytest.raises(ConnectionError, match="wrong token"):
            client.cancel("no reason")


def test_a_job_whose_master_died_has_failed(folder, master):
    folder.write_status(pb.JobStatus(name="job", phase=pb.RUNNING, instances=[pb.Instance(state="running")]))
    seen = watch_job(folder)
    next(seen)
    master.die()
    status = list(seen)[-1]
    assert (status.phase, status.detail) == (pb.FAILED, "its master died")
    assert status.instances[0].state == "stopped"
    with pytest.raises(JobFailed, match="master died"):
        Job(folder).wait()


def test_a_job_that_never_got_a_master_has_failed_once_its_client_is_gone():
    folder = make_folder("orphan")
    assert current_status(folder).phase == pb.FAILED
    spec = folder.spec()
    with JobFolder.prepare(spec.replace(job_name="fresh")) as fresh:
        assert current_status(fresh).phase == pb.STARTING


def test_wait_returns_the_job_that_succeeded(folder, master):
    waiting = in_background(lambda: master.watched.wait() and master.end(pb.SUCCEEDED))
    job = Job(folder, foreground=True)
    assert job.wait() is job
    waiting.join()
    assert master.waiting == [True]


def test_only_foreground_jobs_are_held_by_their_waiters(folder, master):
    ending = in_background(lambda: master.watched.wait() and master.end(pb.SUCCEEDED))
    Job(folder).wait()
    ending.join()
    assert master.waiting == [False]


def test_wait_raises_what_the_worker_said(folder, master):
    master.end(pb.FAILED, failure=pb.Failure(message="loss is NaN", traceback="Traceback: here"))
    with pytest.raises(JobFailed) as caught:
        Job(folder).wait()
    assert "loss is NaN" in str(caught.value)
    assert str(folder.logs) in str(caught.value)
    assert caught.value.traceback == "Traceback: here"


def test_wait_gives_up_after_its_timeout_and_the_job_goes_on(folder, master):
    with pytest.raises(TimeoutError, match="not over"):
        Job(folder, foreground=True).wait(timeout=0.2)
    assert folder.is_alive()
    assert master.waiting == [False]


def test_progress_functions_get_every_status(folder, master):
    master.end(pb.SUCCEEDED, progress=1.0)
    seen: list[float] = []
    Job(folder).wait(progress=lambda status: seen.append(status.progress))
    assert seen == [1.0]


def test_cancel_returns_once_the_master_is_gone(folder, master):
    job = Job(folder).cancel("enough")
    assert not folder.is_alive()
    assert master.cancelled_because == "enough"
    with pytest.raises(JobCancelled, match="enough"):
        job.wait()
    assert job.cancel() is job


def interrupting(master: ScriptedMaster):
    def progress(status: pb.JobStatus) -> None:
        raise KeyboardInterrupt

    return progress


def test_an_interrupt_cancels_a_foreground_job(folder, master):
    with pytest.raises(KeyboardInterrupt) as caught:
        Job(folder, foreground=True).wait(progress=interrupting(master))
    assert master.cancelled_because
    assert caught.value._render_traceback_() == ["KeyboardInterrupt", "Job job is being cancelled"]


def test_an_interrupt_leaves_other_jobs_alone_and_says_how_to_end_them(folder, master):
    with pytest.raises(KeyboardInterrupt) as caught:
        Job(folder).wait(progress=interrupting(master))
    assert "elasticdl cancel job" in caught.value.__notes__[0]
    assert caught.value._render_traceback_() == ["KeyboardInterrupt"]  # the note is on the screen already
    assert not master.cancelled_because


def test_metrics_losses_and_evaluations(folder, master):
    job = Job(folder)
    assert (job.losses, job.evaluations) == ([], [])
    evaluated = {
        "losses": [pb.LossPoint(step=1, loss=0.5)],
        "evaluations": [pb.Evaluation(metrics={"auc": 0.75}, step=1)],
    }
    waiting = in_background(lambda: master.watched.wait() and master.set(**evaluated))
    assert job.metrics == {"auc": 0.75}, "the metrics wait for the first evaluation"
    waiting.join()
    assert job.losses == [(1, 0.5)]
    assert job.evaluations[0].step == 1
    assert "auc 0.75" in repr(job)
    assert "auc 0.75" in job.report()


def test_history_is_that_of_keras(folder, master):
    assert Job(folder).history == {}
    epochs = [{"accuracy": 0.5, "loss": 2.0}, {"accuracy": 0.75, "loss": 1.0, "val_loss": 1.5}]
    master.set(
        history=[pb.EpochEnded(epoch=n, step=8 * n + 8, logs=logs) for n, logs in enumerate(epochs)],
        evaluations=[pb.Evaluation(step=step, metrics={"accuracy": step / 100}) for step in (5, 8, 20)],
    )
    history = Job(folder).history
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert history["val_accuracy"][0] == 0.08 and math.isnan(history["val_accuracy"][1])
    assert history["accuracy"] == [0.5, 0.75] and math.isnan(history["val_loss"][0])
    assert (history.epoch, history.step) == ([0, 1], [8, 16])
    frame = history.df()
    assert list(frame.columns) == list(history) and frame.loc[1, "val_loss"] == 1.5


def test_metrics_of_a_job_that_ends_without(folder, master):
    master.end(pb.SUCCEEDED)
    assert Job(folder).metrics == {}
    master.end(pb.FAILED, failure=pb.Failure(message="no luck"))
    with pytest.raises(JobFailed, match="no luck"):
        _ = Job(folder).metrics


def test_logs_of_one_process_and_of_all(folder):
    (folder.logs / "worker-0.log").write_text("a\nb\nc\n")
    (folder.logs / "master.log").write_text("m\n")
    job = Job(folder)
    assert job.logs("worker", 0) == "a\nb\nc\n"
    assert job.logs("worker", tail=2) == "b\nc\n"
    assert job.logs() == "==> master.log <==\nm\n\n==> worker-0.log <==\na\nb\nc\n"
    with pytest.raises(JobNotFound, match="it has: master, worker-0"):
        job.logs("worker", 3)
