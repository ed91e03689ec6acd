"""Whole jobs on a real Kubernetes."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cluster_jobs import MODEL, RECORDS, Volume, containers_of, left_of, options, pods, until
from kubernetes_cluster import restart_api_server

import elasticdl_nb
from elasticdl_nb import chaos, images
from elasticdl_nb.cli import main
from elasticdl_nb.job import Job
from elasticdl_nb.runtime.errors import ClusterError, JobCancelled, JobError, JobFailed, OptionError
from elasticdl_nb.runtime.platform.kubeapi import Cluster
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec

pytestmark = [pytest.mark.needs("kubernetes"), pytest.mark.timeout(1500)]
RIGHTS = Path(__file__).parents[2] / "docs" / "kubernetes-rbac.yaml"


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    (folder / "small.py").write_text(MODEL)
    return folder


@pytest.fixture(scope="module")
def image(framework_image: str, zoo: Path) -> str:
    spec = JobSpec.create(
        "train", model_def="small", data="/data/x", platform="kubernetes", docker_base_image=framework_image
    )
    return images.image_for(spec, zoo)


@pytest.fixture(scope="module")
def cluster(kubernetes: Path) -> Cluster:
    return Cluster()


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path / "volume")


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> Iterator[str]:
    """The name of the test's job, of which nothing stays behind."""
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    name = f"test-{uuid.uuid4().hex[:6]}"
    yield name
    cluster.delete("Job", f"elasticdl-{name}")
    with contextlib.suppress(elasticdl_nb.JobNotFound):
        Job(elasticdl_nb.attach(name).folder).delete()


def arguments(given: dict[str, object]) -> list[str]:
    return [f"--{option}={value}" for option, value in given.items()]


def test_a_job_runs_with_live_progress_predicts_and_leaves_nothing(
    zoo: Path, framework_image: str, image: str, volume: Volume, name: str, cluster: Cluster, capsys
) -> None:
    given = options(volume, "", model_zoo=zoo, docker_base_image=framework_image, job_name=name, output="/data/out")
    del given["image_name"]
    assert main(["train", *arguments({**given, "num_workers": 2, "num_ps": 1, "num_epochs": 2})]) == 0
    out, err = capsys.readouterr()
    assert "Dashboard: http://127.0.0.1:" in err and "epoch 1 of 2" in err
    assert "succeeded in" in out
    assert (volume.path / "out" / "trained_model.pb").exists()
    job = elasticdl_nb.attach(name)
    assert pods(cluster, job, "worker") == pods(cluster, job, "ps") == []
    assert not [left for left in left_of(cluster, job) if left.startswith(("Secret", "Service "))]
    assert job.status().records_done == 2 * RECORDS
    assert job.logs("master")
    assert main(["delete", name]) == 0

    shared = {option: value for option, value in given.items() if option in ("platform", "image_pull_policy", "volume")}
    predicting = {**shared, "trained_model": "/data/out", "data": "/data/train.csv", "output": "/data/predictions.csv",
                  "job_name": name, "worker_resource_request": "cpu=100m,memory=300Mi"}  # fmt: skip
    assert main(["predict", *arguments(predicting)]) == 0
    assert len((volume.path / "predictions.csv").read_text().splitlines()) == RECORDS + 1
    job = elasticdl_nb.attach(name)
    job.delete()
    until(lambda: not left_of(cluster, job), "the cluster has nothing of the job")
    until(lambda: not containers_of(job), "the node has nothing of the job")


def test_pods_of_every_role_are_deleted_and_every_record_counts_once(
    image: str, volume: Volume, name: str, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume.hold()
    given = options(volume, image, job_name=name, num_workers=2, num_ps=1, checkpoint_steps=20, output="/data/out")
    epochs = 20  # held, it takes longer than a slow machine needs for all that follows
    job = elasticdl_nb.train(**given, num_epochs=epochs, wait=False)
    until(lambda: job.status().step > 2, "training has begun")

    def restarts(role: str) -> int:
        return sum(instance.restarts for instance in job.status().instances if instance.role == role)

    def delete(role: str) -> str:
        there = {pod["metadata"]["name"] for pod in pods(cluster, job, role)}
        said: list[str] = []
        assert chaos.unleash(job, chaos.parse_schedule(f"0s kill {role}"), said.append) == 1
        (doomed,) = (name for name in there if f"(pod {name} deleted)" in said[0])
        return doomed

    with pytest.raises(JobError, match="pods of workers, parameter servers and the master can be killed"):
        chaos.unleash(job, chaos.parse_schedule("0s stop worker-0"))
    delete("worker")
    until(lambda: restarts("worker") >= 1, "the worker is replaced")
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "elsewhere"))
    job = elasticdl_nb.attach(name)
    doomed = delete("master")
    until(lambda: any("restarted" in event.text for event in job.status().events), "the master is replaced")
    assert pods(cluster, job, "master")[0]["metadata"]["name"] != doomed
    restart_api_server(seconds_down=3)
    until(lambda: job.status().phase == pb.RUNNING, "the link is there again")
    until(lambda: job.status().checkpoint_step > 0, "there is a checkpoint")
    delete("ps")
    until(lambda: restarts("ps") >= 1, "the server is replaced")
    job.scale(1)
    volume.release()
    job.wait(timeout=240)
    status = job.status()
    assert status.records_done == status.records_total == epochs * RECORDS
    assert any(
        "was deleted from the cluster" in event.text and event.text.startswith("worker-") for event in status.events
    )
    job.delete()
    until(lambda: not left_of(cluster, job), "the cluster has nothing of the job")


def test_workers_average_gradients_between_pods_and_go_on_without_the_oldest(
    image: str, volume: Volume, name: str, cluster: Cluster
) -> None:
    volume.hold()
    given = options(
        volume, image, job_name=name, num_workers=2, min_workers=2, distribution_strategy="AllreduceStrategy"
    )
    job = elasticdl_nb.train(**given, num_epochs=2, output="/data/out", wait=False)
    until(lambda: job.status().step > 2, "both train")
    cluster.delete("Pod", pods(cluster, job, "worker")[0]["metadata"]["name"])
    until(lambda: any(instance.restarts for instance in job.status().instances), "a worker is replaced")
    step = job.status().step
    until(lambda: job.status().step > step + 2, "both train again")
    volume.release()
    job.wait(timeout=240)
    status = job.status()
    assert status.records_done == status.records_total == 2 * RECORDS
    assert status.rollbacks == 0


def test_a_request_that_is_too_large_is_shown_and_can_be_cancelled_by_a_user_with_the_documented_rights(
    image: str, volume: Volume, name: str, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    given = options(volume, image, job_name=name, worker_resource_request="cpu=64,memory=1Gi")
    as_user(cluster, tmp_path, monkeypatch, f"user-{name}")
    with pytest.raises(ClusterError, match=r"forbidden: User .* cannot get resource \"jobs\".*kubernetes-rbac.yaml"):
        elasticdl_nb.train(**given, wait=False)
    grant(cluster, f"user-{name}")
    job = elasticdl_nb.train(**given, wait=False)
    until(lambda: "Insufficient cpu" in job.status().detail, "it says why it waits")
    assert "worker-0 is waiting for room in the cluster" in job.status().detail
    assert main(["cancel", name]) == 0
    assert "cancelled" in capsys.readouterr().out
    with pytest.raises(JobCancelled):
        job.wait()
    until(lambda: not left_of(cluster, job), "the cluster has nothing of the job")


def test_an_image_that_is_not_there_fails_the_job_with_the_nodes_words(
    registry: str, volume: Volume, name: str, cluster: Cluster
) -> None:
    given = options(volume, f"{registry}/no/such:1", job_name=name, image_pull_policy="Always")
    with pytest.raises(JobFailed, match=r"(?s)no/such:1 cannot be pulled: .*not found"):
        elasticdl_nb.train(**given)
    until(lambda: not left_of(cluster, elasticdl_nb.attach(name)), "the cluster has nothing of the job")


def test_what_pods_cannot_see_is_found_by_the_client_or_by_the_masters_pod(
    image: str, volume: Volume, name: str, cluster: Cluster
) -> None:
    with pytest.raises(OptionError, match=r"data: /elsewhere/x\.csv is not visible to the job's pods"):
        elasticdl_nb.train(**options(volume, image, job_name=name, data="/elsewhere/x.csv"))
    with pytest.raises(OptionError, match="volume: required"):
        elasticdl_nb.train(**{**options(volume, image, job_name=name), "volume": ""})
    with pytest.raises(JobFailed, match=r"data: .*none\.csv"):
        elasticdl_nb.train(**options(volume, image, job_name=name, data="/data/none.csv"))
    (job,) = cluster.list("Job", f"elasticdl-job-name={name}")
    assert job["status"]["conditions"][0]["type"] == "Failed"


def test_a_worker_that_needs_too_much_memory_is_not_tried_forever(image: str, volume: Volume, name: str) -> None:
    given = options(volume, image, job_name=name, worker_resource_request="cpu=100m,memory=64Mi")
    with pytest.raises(
        JobFailed, match=r"was killed for using more memory than its limit of 64Mi .*; likely cause: memory ran out"
    ):
        elasticdl_nb.train(**given, worker_resource_limit="memory=64Mi")


def test_a_preempted_worker_comes_back_when_there_is_room(
    image: str, volume: Volume, name: str, cluster: Cluster
) -> None:
    priorities(cluster)
    volume.hold()
    given = options(volume, image, job_name=name, worker_pod_priority="low", num_workers=2, num_epochs=8)
    job = elasticdl_nb.train(**{**given, "worker_resource_request": "cpu=300m,memory=100Mi"}, wait=False)
    until(lambda: job.status().step > 2, "training has begun")
    intruder = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"intruder-{name}"},
        "spec": {"priorityClassName": "elasticdl-high", "terminationGracePeriodSeconds": 0, "containers": [
            {"name": "one", "image": image, "imagePullPolicy": "Never", "command": ["sleep", "1000"],
             "resources": {"requests": {"cpu": f"{cores(cluster) * 1000 - 500}m"}}}]},
    }  # fmt: skip
    cluster.create(intruder)
    try:
        until(lambda: any("preempted" in event.text for event in job.status().events), "a worker is preempted")
        until(lambda: "is waiting for room" in str(job.status().instances), "it is shown to wait")
    finally:
        cluster.delete("Pod", f"intruder-{name}", grace=0)

    def workers() -> list[str]:
        return [one.state for one in job.status().instances if one.role == "worker"]

    until(lambda: workers() == ["running"] * 2, "it is back")
    volume.release()
    assert job.wait(timeout=240).status().records_done == 8 * RECORDS


def test_manifests_are_written_and_nothing_is_submitted(
    image: str, volume: Volume, name: str, cluster: Cluster, tmp_path: Path
) -> None:
    path = tmp_path / "job.yaml"
    assert main(["train", *arguments(options(volume, image, job_name=name, yaml=path))]) == 0
    kinds = [one["kind"] for one in yaml.safe_load_all(path.read_text())]
    assert kinds == ["ConfigMap", "Secret", "Service", "ServiceAccount", "Role", "RoleBinding", "Job"]
    assert path.stat().st_mode & 0o77 == 0
    assert not cluster.list("Job", f"elasticdl-job-name={name}")


# ------------------------------------------------------------------ the cluster's users and classes


def as_user(cluster: Cluster, folder: Path, monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    """Be a user without any rights from now on."""
    import kubernetes.client

    with contextlib.suppress(ClusterError):
        cluster.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": user}})
    client = cluster.sibling()
    token = kubernetes.client.CoreV1Api(client).create_namespaced_service_account_token(
        user, "default", {"spec": {"expirationSeconds": 3600}}
    )
    server = {"server": cluster.host, "certificate-authority": client.configuration.ssl_ca_cert}
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": server}],
        "users": [{"name": "it", "user": {"token": token.status.token}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    }  # fmt: skip
    (folder / "user.kubeconfig").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(folder / "user.kubeconfig"))


def grant(cluster: Cluster, user: str) -> None:
    """Give a user what the documented manifest gives."""
    role = next(one for one in yaml.safe_load_all(RIGHTS.read_text()) if one["metadata"]["name"] == "elasticdl-user")
    with contextlib.suppress(ClusterError):
        cluster.create(role)
    with contextlib.suppress(ClusterError):
        cluster.create({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": user},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "elasticdl-user"},
            "subjects": [{"kind": "ServiceAccount", "name": user}],
        })  # fmt: skip


def priorities(cluster: Cluster) -> None:
    """Make the PriorityClasses of the documented manifest."""
    import kubernetes.client
    from kubernetes.client.exceptions import ApiException

    for one in yaml.safe_load_all(RIGHTS.read_text()):
        if one["kind"] == "PriorityClass":
            with contextlib.suppress(ApiException):
                kubernetes.client.SchedulingV1Api(cluster.sibling()).create_priority_class(one)


def cores(cluster: Cluster) -> int:
    """Return how many processors the one node has."""
    import kubernetes.client

    (node,) = kubernetes.client.CoreV1Api(cluster.sibling()).list_node().items
    return int(node.status.allocatable["cpu"])
