from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticdl_nb.runtime.platform.podstate import PodState, state_of


def pod(status: dict[str, Any], *, leaves: bool = False, limit: str = "", role: str = "worker") -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "pod", "uid": "u", "labels": {"elasticdl-replica-type": role}}
    if leaves:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    limits = {"limits": {"memory": limit}} if limit else {}
    return {"metadata": metadata, "spec": {"containers": [{"resources": limits}]}, "status": status}


def container(**state: Any) -> list[dict[str, Any]]:
    return [{"image": "registry/me:1", "state": {name: value for name, value in state.items()}}]


def ended(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    phase = "Failed" if code else "Succeeded"
    terminated = {"exitCode": code, "reason": reason, "message": message}
    return {"phase": phase, "containerStatuses": container(terminated=terminated)}


def waits(reason: str, message: str = "") -> dict[str, Any]:
    return {"phase": "Pending", "containerStatuses": container(waiting={"reason": reason, "message": message})}


def unscheduled(message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"phase": "Pending", "conditions": [condition]}


def disrupted(reason: str) -> dict[str, Any]:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "as the node says"}
    return {**ended(137), "conditions": [condition]}


RUNS = {"phase": "Running", "containerStatuses": container(running={"startedAt": "2026-01-01T00:00:00Z"})}


def test_a_pod_that_comes_up_says_nothing():
    assert state_of(pod({})) == PodState("waits")
    assert state_of(pod({"phase": "Pending"})) == PodState("waits")
    assert state_of(pod(waits("ContainerCreating"))) == PodState("waits")
    assert state_of(pod(waits("PodInitializing"))) == PodState("waits")
    assert state_of(pod(RUNS)) == PodState("runs")


def test_a_pod_that_is_to_leave_runs_until_it_has_ended():
    assert state_of(pod(RUNS, leaves=True)).stage == "runs"


def test_a_pod_that_is_to_leave_before_it_runs_has_ended():
    assert state_of(pod(waits("ContainerCreating"), leaves=True)).stage == "ended"
    assert state_of(pod({"phase": "Pending"}, leaves=True)).stage == "ended"


def test_without_room_the_schedulers_own_words_are_shown():
    state = state_of(pod(unscheduled("0/1 nodes are available: 1 Insufficient cpu.")))
    assert state.stage == "waits" and not state.hopeless and not state.trouble
    assert state.text == "is waiting for room in the cluster: 0/1 nodes are available: 1 Insufficient cpu."


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("InvalidImageName", "couldn't parse image reference"),
        ("ErrImageNeverPull", 'Container image "x" is not present with pull policy of Never'),
        ("ErrImagePull", "rpc error: code = Unknown desc = manifest for x:1 not found: manifest unknown"),
        ("ErrImagePull", "pull access denied for x, repository does not exist or may require 'docker login'"),
        ("ErrImagePull", "failed to authorize: 401 Unauthorized"),
        ("ImagePullBackOff", "Back-off pulling image: ErrImagePull: no match for platform in manifest"),
    ],
)
def test_an_image_that_is_not_there_is_hopeless(reason, message):
    state = state_of(pod(waits(reason, message)))
    assert state.stage == "waits" and state.trouble and state.hopeless
    assert state.text == f"its image registry/me:1 cannot be pulled: {message}"


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("ErrImagePull", "dial tcp 10.0.0.1:5000: connect: connection refused"),
        ("ImagePullBackOff", 'Back-off pulling image "x"'),
        ("RegistryUnavailable", "registry is unavailable"),
        ("CreateContainerConfigError", 'secret "token" could not be found'),
        ("CrashLoopBackOff", "back-off 10s restarting failed container"),
    ],
)
def test_what_may_pass_is_trouble_but_not_hopeless(reason, message):
    state = state_of(pod(waits(reason, message)))
    assert state.stage == "waits" and state.trouble and not state.hopeless
    assert state.text.endswith(message)


def test_a_state_that_nobody_knows_is_shown_and_waited_out():
    assert state_of(pod(waits("SomethingNew", "bla"))) == PodState("waits", "its container cannot be started: bla")


def test_a_process_that_ends_by_itself_ends_with_its_code_and_the_end_of_its_log():
    assert state_of(pod(ended(0, "Completed"))) == PodState("ended")
    assert state_of(pod(ended(3, message="last words"))) == PodState("ended", code=3, log_tail="last words")
    assert state_of(pod(ended(139))).code == -11
    assert state_of(pod(ended(137))) == PodState("ended", code=-9)


def test_running_out_of_memory_is_named_with_the_limit_and_counts():
    state = state_of(pod(ended(137, "OOMKilled"), limit="256Mi", role="ps"))
    assert state.counts and state.named and state.code == -9
    assert state.text == "was killed for using more memory than its limit of 256Mi (see ps_resource_limit)"
    assert "was available on its node" in state_of(pod(ended(137, "OOMKilled"))).text


def test_running_out_of_memory_counts_even_when_the_pod_is_deleted_then():
    assert state_of(pod(ended(137, "OOMKilled"), leaves=True), gone=True).counts


@pytest.mark.parametrize("reason", ["Evicted", "NodeLost", "NodeShutdown", "Terminated", "NodeAffinity", "OutOfcpu"])
def test_what_the_cluster_takes_does_not_count(reason):
    state = state_of(pod({"phase": "Failed", "reason": reason, "message": "The node was low on resource: memory."}))
    assert state.stage == "ended" and not state.counts and state.named and state.code == -9


def test_an_eviction_for_the_pods_own_excess_counts():
    message = "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi."
    state = state_of(pod({"phase": "Failed", "reason": "Evicted", "message": message}))
    assert state.counts and message in state.text


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("PreemptionByScheduler", "preempted"), ("DeletionByTaintManager", "taint"),
        ("EvictionByEvictionAPI", "evicted"), ("DeletionByPodGC", "node is gone"), ("Unheard", "as the node says"),
    ],
)  # fmt: skip
def test_newer_clusters_say_why_they_disrupt(reason, says):
    state = state_of(pod(disrupted(reason)))
    assert not state.counts and says in state.text


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([], "was deleted from the cluster"),
        (["Killing", "Preempted"], "was preempted by a pod with higher priority"),
        (["TaintManagerEviction"], "was removed from its node, which is now tainted"),
    ],
)
@pytest.mark.parametrize("status", [RUNS, ended(137), ended(143), ended(0), {}])
def test_a_pod_that_was_removed_does_not_count_and_events_tell_why(status, events, text):
    told = [{"reason": reason} for reason in events]
    state = state_of(pod(status, leaves=True), gone=True, events=told)
    assert (state.stage, state.counts, state.text, state.named) == ("ended", False, text, True)


def test_a_command_that_cannot_be_run_is_hopeless():
    state = state_of(pod(ended(127, "ContainerCannotRun", 'exec: "python3": not found')))
    assert state.hopeless and "python3" in state.text


def test_a_pod_that_failed_without_a_container_gives_its_reason():
    state = state_of(pod({"phase": "Failed", "reason": "DeadlineExceeded", "message": "too long"}))
    assert state.counts and state.text == "was ended by its node: DeadlineExceeded: too long"
    assert state_of(pod({"phase": "Failed"})).code == 1


REASONS = ["", "Evicted", "OOMKilled", "Error", "NodeLost", "ErrImagePull", "Unschedulable", "Completed", "StartError"]
states = st.fixed_dictionaries(
    {},
    optional={
        "running": st.just({}),
        "waiting": st.fixed_dictionaries({"reason": st.sampled_from(REASONS)}),
        "terminated": st.fixed_dictionaries({"exitCode": st.integers(0, 255), "reason": st.sampled_from(REASONS)}),
    },
)
statuses = st.fixed_dictionaries(
    {},
    optional={
        "phase": st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"]),
        "reason": st.sampled_from(REASONS),
        "message": st.text(max_size=5) | st.none(),
        "conditions": st.none() | st.just([]),
        "containerStatuses": st.none() | st.lists(st.fixed_dictionaries({"state": states}), max_size=2),
    },
)


@given(statuses, st.booleans(), st.booleans())
def test_any_state_means_something(status, leaves, gone):
    state = state_of(pod(status, leaves=leaves), gone=gone)
    if gone:
        assert state.stage == "ended"
    if not state.counts:
        assert state.stage == "ended" and state.named and state.text
    if state.hopeless or state.named:
        assert state.text
