from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticdl_nb.given.clusterpaths import as_pods_see_it, check_visible, path_here
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.platform import manifests
from elasticdl_nb.runtime.platform.base import InstanceId
from elasticdl_nb.runtime.platform.podtracker import instance_of
from elasticdl_nb.runtime.spec import JobSpec, clusterforms
from elasticdl_nb.runtime.spec.forms import JOB_NAME

COMMAND = [
    "/usr/bin/python3.11",
    "-m",
    "elasticdl_nb.runtime.worker",
    "/data/.elasticdl/jobs/job",
    "tls://x:1",
    "0",
    "0",
]

HIGH, LOW = "elasticdl-high", "elasticdl-low"


def job(**given: Any) -> JobSpec:
    usual = {
        "model_def": "net", "data": "/data/train.csv", "job_name": "job", "platform": "kubernetes",
        "volume": "claim_name=c,mount_path=/data", "image_name": "registry/zoo@sha256:1", "num_workers": 4,
    }  # fmt: skip
    return as_pods_see_it(JobSpec.create("train", **{**usual, **given}))


def worker(index: int = 0, **given: Any) -> dict[str, Any]:
    return manifests.instance_pod(job(**given), InstanceId("worker", index, "0"), COMMAND, {"A": "b"})


@given(st.from_regex(JOB_NAME, fullmatch=True))
def test_every_jobs_name_gives_names_that_clusters_take(name):
    assert clusterforms.object_name(manifests.object_name(name))
    longest = manifests.pod_name(name, InstanceId("worker", 9999, "9999"))
    assert len(longest) <= 63 and "." not in longest


def test_names_of_objects_differ_where_those_of_jobs_do():
    names = ["job", "Job", "job_1", "job-1", "job.1", "j" * 63, "j" * 62]
    assert len({manifests.object_name(name) for name in names}) == len(names)
    assert manifests.object_name("job-1") == "elasticdl-job-1"


def test_the_master_is_a_job_that_the_cluster_restarts():
    made = manifests.master_job(job(master_resource_request="cpu=2,memory=1Gi"), paused=True)
    assert (made["kind"], made["spec"]["parallelism"], made["spec"]["completions"]) == ("Job", 0, 1)
    assert made["spec"]["backoffLimit"] > 0
    assert manifests.master_job(job(restart_policy="never"), paused=False)["spec"]["backoffLimit"] == 0
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python3", "-m", "elasticdl_nb.job.inpod"]
    assert container["resources"] == {"requests": {"cpu": "2", "memory": "1Gi"}}
    assert {"name": "ELASTICDL_HOME", "value": "/data/.elasticdl"} in container["env"]


def test_the_token_is_in_the_secret_and_nowhere_else():
    objects = manifests.companions(job(), "the-token")
    assert [one["kind"] for one in objects] == [
        "ConfigMap", "Secret", "Service", "ServiceAccount", "Role", "RoleBinding",
    ]  # fmt: skip
    (secret,) = (one for one in objects if one["kind"] == "Secret")
    assert base64.b64decode(secret["data"]["token"]) == b"the-token"
    rest = [one for one in objects if one is not secret]
    for text in (json.dumps(rest), json.dumps(manifests.master_job(job(), paused=False)), json.dumps(worker())):
        assert "the-token" not in text and base64.b64encode(b"the-token").decode() not in text


def test_the_job_is_handed_over_whole():
    spec = job(envs="A=1")
    config = manifests.companions(spec, "t", "cluster = 1")[0]
    assert JobSpec.from_json(config["data"]["spec.json"]) == spec
    assert config["data"]["cluster_spec.py"] == "cluster = 1"


def test_with_a_service_account_none_is_made():
    kinds = [one["kind"] for one in manifests.companions(job(service_account="mine"), "t")]
    assert kinds == ["ConfigMap", "Secret", "Service"]
    made = manifests.master_job(job(service_account="mine"), paused=False)
    assert made["spec"]["template"]["spec"]["serviceAccountName"] == "mine"


def test_a_master_may_touch_no_objects_but_its_own_and_pods():
    for rule in manifests.master_rules("elasticdl-job"):
        if set(rule["resources"]) & {"secrets", "services", "configmaps", "jobs"}:
            assert rule["resourceNames"] == ["elasticdl-job"]
        assert "*" not in rule["verbs"] + rule["resources"]


def test_everything_belongs_to_the_job():
    master = {"metadata": {"name": "elasticdl-job", "uid": "u1"}}
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "elasticdl-job", "uid": "u1"}
    assert manifests.owned(worker(), master)["metadata"]["ownerReferences"] == [owner]


def test_a_workers_pod():
    pod = worker(1, worker_resource_request="cpu=1,memory=4096Mi,gpu=1", image_pull_policy="always")
    assert pod["metadata"]["name"] == "elasticdl-job-worker-1-0"
    assert instance_of(pod) == InstanceId("worker", 1, "0")
    assert pod["metadata"]["labels"]["elasticdl-job-name"] == "job"
    spec, (container,) = pod["spec"], pod["spec"]["containers"]
    assert spec["restartPolicy"] == "Never" and spec["automountServiceAccountToken"] is False
    assert container["command"] == ["python3", *COMMAND[1:]]
    assert container["imagePullPolicy"] == "Always"
    requests = {"cpu": "1", "memory": "4096Mi", "nvidia.com/gpu": "1"}
    assert container["resources"] == {"requests": requests, "limits": {"nvidia.com/gpu": "1"}}
    assert {"name": "A", "value": "b"} in container["env"]
    assert container["volumeMounts"] == [{"name": "volume-0", "mountPath": "/data"}]
    assert spec["volumes"] == [{"name": "volume-0", "persistentVolumeClaim": {"claimName": "c"}}]


def test_placement():
    pod = worker(node_selector="disk=ssd", tolerations="gpu=yes:NoSchedule,spot", image_pull_secrets="a,b")["spec"]
    assert pod["nodeSelector"] == {"disk": "ssd"}
    assert pod["tolerations"] == [
        {"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"},
        {"key": "spot", "operator": "Exists"},
    ]
    assert pod["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}]


@pytest.mark.parametrize(
    ("priority", "classes"),
    [
        ("", [None] * 4), ("high", [HIGH] * 4), ("low", [LOW] * 4), ("mine", ["mine"] * 4),
        ("high=0.5", [HIGH] * 2 + [LOW] * 2), ("0.25", [HIGH] + [LOW] * 3),
    ],
)  # fmt: skip
def test_priorities_of_workers(priority, classes):
    assert [
        worker(index, worker_pod_priority=priority)["spec"].get("priorityClassName") for index in range(4)
    ] == classes


def test_the_jobs_folder_is_on_the_first_volume_that_can_be_written():
    volumes = "host_path=/a,mount_path=/in,read_only=true; host_path=/b,mount_path=/out/"
    assert manifests.job_folder(job(volume=volumes, data="/in/x")) == "/out/.elasticdl/jobs/job"
    assert manifests.job_folder(job(job_directory="/out/mine")) == "/out/mine/jobs/job"
    assert job().output == "/data/.elasticdl/jobs/job/trained_model"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"volume": ""}, "volume: required"),
        ({"volume": "host_path=/a,mount_path=/data,read_only=true"}, "volume: required"),
        ({"data": "/home/me/x.csv"}, r"data: /home/me/x.csv is not visible to the job's pods: .* \(/data\)"),
        ({"data": "relative.csv"}, "data: relative.csv is not visible"),
        ({"data": "/database/x.csv"}, "data: /database/x.csv is not visible"),
        ({"validation_data": "/x.csv"}, "validation_data: "),
        ({"data": "memory://x"}, "data: memory://x is on this machine"),
        ({"data": "http://localhost:9000/x"}, "data: .* is on this machine"),
        ({"output": "/out"}, "output: /out is not visible"),
        ({"output": "/model_zoo/out"}, "output: "),
        ({"checkpoint_dir": "/ckpt"}, "checkpoint_dir: "),
        ({"job_directory": "/jobs"}, "job_directory: "),
    ],
)
def test_what_pods_cannot_see_is_refused(given, message):
    with pytest.raises(OptionError, match=message):
        check_visible(job(**given))


def test_an_output_on_a_read_only_volume_is_refused():
    volumes = "host_path=/b,mount_path=/out; host_path=/a,mount_path=/out/in,read_only=true"
    with pytest.raises(OptionError, match=r"output: .*read-only"):
        check_visible(job(volume=volumes, data="/out/in/x", output="/out/in/out"))
    check_visible(job(volume=volumes, data="/out/in/x", output="/out/out"))


def test_what_pods_see_is_accepted():
    check_visible(job(data="/data/a.csv,s3://bucket/b.csv,/model_zoo/c.csv", output="gs://bucket/model"))
    check_visible(job(data="whatever", custom_data_reader="net.reader"))


def test_a_path_of_the_node_that_is_this_machine():
    spec = job(volume="host_path=/tmp/x,mount_path=/data")
    assert path_here(spec, "/data/out/model") == "/tmp/x/out/model"
    assert path_here(job(), "/data/out") == "/data/out"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("volume", "claim_name=c", "mount_path"),
        ("volume", "mount_path=/data", "claim_name"),
        ("volume", "claim_name=c,host_path=/x,mount_path=/data", "not both"),
        ("volume", "claim_name=c,mount_path=data", "does not start with /"),
        ("volume", "claim=c,mount_path=/data", "Did you mean 'claim_name'"),
        ("worker_resource_request", "cpus=1", "Did you mean 'cpu'"),
        ("worker_resource_request", "memory=4 GB", "is not a quantity"),
        ("worker_pod_priority", "high=2", "between 0 and 1"),
        ("worker_pod_priority", "Very High", "lower-case"),
        ("namespace", "My_Space", "lower-case"),
        ("image_pull_policy", "Sometimes", "IfNotPresent"),
        ("restart_policy", "Always", "OnFailure"),
        ("platform", "k8s", "local, kubernetes"),
        ("job_directory", "jobs", "starting with /"),
        ("tolerations", "gpu:NoWay", "NoSchedule"),
    ],
)
def test_options_that_do_not_do(option, value, message):
    with pytest.raises(OptionError, match=message) as caught:
        job(**{option: value})
    assert caught.value.option == option


def test_options_may_be_python_values():
    spec = job(
        volume=[{"claim_name": "c", "mount_path": "/data"}], worker_resource_request={"cpu": 2, "memory": "1Gi"},
        tolerations=[{"key": "a", "operator": "Exists"}], node_selector={"a": "b"}, worker_pod_priority=0.5,
    )  # fmt: skip
    assert spec.worker_resource_request == {"cpu": "2", "memory": "1Gi"}
    assert spec.worker_pod_priority == "0.5"
    assert JobSpec.from_json(spec.to_json()) == spec
