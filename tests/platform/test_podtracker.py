from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from elasticdl_nb.runtime.platform.base import Exited, InstanceId, Runs, Stuck
from elasticdl_nb.runtime.platform.podtracker import TROUBLE_SECONDS, PodTracker, instance_of

WORKER = InstanceId("worker", 0, "2")


def pod_of(instance: InstanceId = WORKER, **status: Any) -> dict[str, Any]:
    labels = {
        "elasticdl-replica-type": instance.role, "elasticdl-replica-index": str(instance.index),
        "elasticdl-incarnation": instance.incarnation,
    }  # fmt: skip
    metadata = {"name": "pod", "uid": "u", "labels": labels}
    return {"metadata": metadata, "spec": {"containers": [{}]}, "status": status}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return pod_of(containerStatuses=[{"image": "i", "state": {"waiting": {"reason": reason, "message": message}}}])


def ended(code: int) -> dict[str, Any]:
    phase = "Failed" if code else "Succeeded"
    return pod_of(phase=phase, containerStatuses=[{"state": {"terminated": {"exitCode": code}}}])


RUNS = pod_of(phase="Running", containerStatuses=[{"state": {"running": {"startedAt": "now"}}}])


def tracker() -> PodTracker:
    pods = PodTracker()
    pods.expect(WORKER)
    return pods


def test_a_pods_labels_say_whose_it_is():
    assert instance_of(RUNS) == WORKER
    assert instance_of({"metadata": {"labels": {"elasticdl-replica-type": "master"}}}) is None
    assert instance_of({"metadata": {}}) is None


def test_an_end_is_told_once():
    pods = tracker()
    assert pods.observed(RUNS, 1.0) == [Runs(WORKER)]
    assert pods.observed(RUNS, 1.5) == []
    assert pods.observed(ended(3), 2.0) == [Exited(WORKER, 3)]
    assert pods.observed(ended(3), 3.0, gone=True) == []
    assert pods.listed([], 4.0, 4.0) == []


def test_pods_of_others_are_none_of_its_business():
    assert tracker().observed(pod_of(InstanceId("worker", 0, "1"), phase="Failed"), 1.0) == []


def test_a_pod_that_disappears_while_nobody_watches_was_deleted():
    pods = tracker()
    pods.observed(RUNS, 1.0)
    (report,) = pods.listed([], 5.0, 6.0)
    assert isinstance(report, Exited) and not report.counts and report.reason == "was deleted from the cluster"


def test_a_pod_that_was_made_after_the_question_is_not_missing():
    pods = tracker()
    assert pods.listed([], 5.0, 5.5) == []
    pods.made(WORKER, 6.0)
    assert pods.listed([], 5.0, 6.5) == []
    assert len(pods.listed([], 7.0, 7.5)) == 1


def test_what_it_waits_for_is_told_when_it_changes():
    pods = tracker()
    condition = {"type": "PodScheduled", "status": "False", "message": "no cpu"}
    full = pod_of(phase="Pending", conditions=[condition])
    assert pods.observed(full, 1.0) == [Stuck(WORKER, "is waiting for room in the cluster: no cpu")]
    assert pods.observed(full, 2.0) == []
    assert pods.observed(RUNS, 3.0) == [Stuck(WORKER, ""), Runs(WORKER)]


def test_trouble_that_lasts_is_given_up_with_what_was_said_first():
    pods = tracker()
    (told,) = pods.observed(waiting("ErrImagePull", "connection refused"), 10.0)
    assert isinstance(told, Stuck) and not told.hopeless and "connection refused" in told.reason
    assert pods.observed(waiting("ImagePullBackOff", "Back-off"), 20.0) == []
    assert pods.tick(10.0 + TROUBLE_SECONDS) == []
    assert pods.tick(11.0 + TROUBLE_SECONDS) == [Stuck(WORKER, told.reason, hopeless=True)]
    assert pods.tick(12.0 + TROUBLE_SECONDS) == []


def test_trouble_that_passes_is_forgotten():
    pods = tracker()
    pods.observed(waiting("ErrImagePull", "connection refused"), 10.0)
    pods.observed(RUNS, 11.0)
    assert pods.tick(500.0) == []


def test_a_refusal_is_told_once():
    pods = tracker()
    assert pods.refused(WORKER, "exceeded quota", hopeless=False) == [Stuck(WORKER, "exceeded quota")]
    assert pods.refused(WORKER, "exceeded quota", hopeless=False) == []


def test_one_that_is_not_to_be_made_any_more_has_ended():
    pods = tracker()
    assert pods.given_up(WORKER) == [Exited(WORKER, -9)]
    assert WORKER not in pods
    assert pods.given_up(WORKER) == []


def test_one_that_was_made_ends_when_its_pod_does():
    pods = tracker()
    pods.made(WORKER, 1.0)
    assert pods.given_up(WORKER) == []


STEPS = st.lists(
    st.sampled_from(["expect", "made", "runs", "ended", "gone", "listed", "unlisted", "trouble", "tick", "give up"]),
    max_size=30,
)


@given(STEPS)
def test_whatever_happens_each_instance_ends_at_most_once(steps):
    pods, ends = PodTracker(), 0
    expected = False
    for now, step in enumerate(steps):
        reports: list[Exited | Stuck] = []
        match step:
            case "expect" if not expected:
                pods.expect(WORKER)
                expected = True
            case "made":
                pods.made(WORKER, now)
            case "runs":
                reports = pods.observed(RUNS, now)
            case "ended":
                reports = pods.observed(ended(1), now)
            case "gone":
                reports = pods.observed(RUNS, now, gone=True)
            case "listed":
                reports = pods.listed([RUNS], now, now)
            case "unlisted":
                reports = pods.listed([], now, now)
            case "trouble":
                reports = pods.observed(waiting("ErrImagePull"), now)
            case "tick":
                reports = pods.tick(now * 50)
            case "give up":
                reports = pods.given_up(WORKER)
        ends += sum(isinstance(report, Exited) for report in reports)
        assert ends == (expected and WORKER not in pods)
