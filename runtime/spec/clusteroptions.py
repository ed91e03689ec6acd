"""The options that say how a job runs on Kubernetes, and in which image. `JobSpec` inherits them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elasticdl_nb.runtime.spec import clusterforms, forms
from elasticdl_nb.runtime.spec.option import KINDS, JobKind, option

PLATFORMS = ("local", "kubernetes")
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
RESTART_POLICIES = ("OnFailure", "Never")
_RESOURCES = "cpu=1,memory=4096Mi,gpu=1"


def _request(role: str, title: str, jobs: tuple[JobKind, ...]) -> Any:
    here = " On this machine only gpu, which can be part of one, such as gpu=0.5." if role == "worker" else ""
    return option(
        f"What each {title} requests from its node.{here}", group="Kubernetes",
        parse=clusterforms.resources, form=_RESOURCES,
        default={"cpu": "100m", "memory": "1024Mi"} if role == "master" else {"cpu": "1", "memory": "4096Mi"},
        jobs=jobs,
    )  # fmt: skip


def _limit(title: str, jobs: tuple[JobKind, ...]) -> Any:
    return option(
        f"The most each {title} may use; by default only the node limits it.", group="Kubernetes",
        parse=clusterforms.resources, form=_RESOURCES, default={}, jobs=jobs,
    )  # fmt: skip


_ALL = KINDS
_TRAIN: tuple[JobKind, ...] = ("train",)


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """See the module's docstring. Every option has a default, as jobs on this machine do not need them."""

    platform: str = option(
        "Where the job's processes run: on this machine, or as pods in a Kubernetes cluster.",
        group="Running", parse=forms.one_of(PLATFORMS), form="PLATFORM", default="local", choices=PLATFORMS,
    )  # fmt: skip

    # ------------------------------------------------------------ the image
    image_name: str = option(
        "An existing image that contains the framework, and the model zoo at /model_zoo. By default an image is built "
        "and pushed.",
        group="Image", form="IMAGE",
    )  # fmt: skip
    docker_image_repository: str = option(
        "The repository to push the built image to, such as registry.example.com/me or 127.0.0.1:5000/me.",
        group="Image", form="REPOSITORY",
    )  # fmt: skip
    docker_base_image: str = option(
        "The base image: any with Python 3.11 or later and pip.",
        group="Image", form="IMAGE", aliases={kind: ("image_base",) for kind in _ALL},
    )  # fmt: skip
    image_pull_policy: str = option(
        "When nodes pull the image.", group="Image", parse=forms.one_of(PULL_POLICIES), form="POLICY",
        default="IfNotPresent", choices=PULL_POLICIES,
    )  # fmt: skip
    image_pull_secrets: tuple[str, ...] = option(
        "Secrets in the namespace with which nodes pull the image.",
        group="Image", parse=clusterforms.names, form="NAME[,NAME…]", default=(),
    )  # fmt: skip

    # ------------------------------------------------------------ the cluster
    kube_context: str = option(
        "The context in the kube-config; by default its current one.", group="Kubernetes", form="NAME",
    )  # fmt: skip
    namespace: str = option(
        "The namespace for the job's pods; by default the context's.",
        group="Kubernetes", parse=clusterforms.object_name, form="NAME",
    )  # fmt: skip
    service_account: str = option(
        "The master's service account, which creates and deletes the job's pods; by default one made for the job.",
        group="Kubernetes", parse=clusterforms.object_name, form="NAME",
    )  # fmt: skip
    volume: tuple[dict[str, str], ...] = option(
        "Volumes to mount in every pod: claim_name=NAME or host_path=PATH, with mount_path=PATH, and optionally "
        "sub_path=PATH and read_only=true. Separate volumes with ';'.",
        group="Kubernetes", parse=clusterforms.volumes, form="VOLUME[;VOLUME…]", default=(),
    )  # fmt: skip
    job_directory: str = option(
        "The folder on one of the volumes in which jobs keep what their pods share, under jobs/NAME; by default "
        ".elasticdl on the first writable volume.",
        group="Kubernetes", parse=clusterforms.folder("a folder"), form="DIR",
    )  # fmt: skip
    master_resource_request: dict[str, str] = _request("master", "master", _ALL)
    worker_resource_request: dict[str, str] = _request("worker", "worker", _ALL)
    ps_resource_request: dict[str, str] = _request("ps", "parameter server", _TRAIN)
    master_resource_limit: dict[str, str] = _limit("master", _ALL)
    worker_resource_limit: dict[str, str] = _limit("worker", _ALL)
    ps_resource_limit: dict[str, str] = _limit("parameter server", _TRAIN)
    master_pod_priority: str = option(
        "The master's priority: high, low, or the name of a PriorityClass.",
        group="Kubernetes", parse=clusterforms.object_name, form="PRIORITY",
    )  # fmt: skip
    worker_pod_priority: str = option(
        "The workers' priority: high, low, the share of workers with high priority (high=0.5; the others get low), or "
        "the name of a PriorityClass.",
        group="Kubernetes", parse=clusterforms.priority, form="PRIORITY",
    )  # fmt: skip
    ps_pod_priority: str = option(
        "The parameter servers' priority, as for the master.",
        group="Kubernetes", parse=clusterforms.object_name, form="PRIORITY", jobs=_TRAIN,
    )  # fmt: skip
    restart_policy: str = option(
        "Whether a master that fails is restarted and continues where it stopped. Workers and servers are always "
        "replaced.",
        group="Kubernetes", parse=forms.one_of(RESTART_POLICIES), form="POLICY", default="OnFailure",
        choices=RESTART_POLICIES,
    )  # fmt: skip
    node_selector: dict[str, str] = option(
        "Labels that nodes must have to run the job's pods.",
        group="Kubernetes", parse=forms.pairs, form="NAME=VALUE[,…]", default={},
    )  # fmt: skip
    tolerations: tuple[dict[str, Any], ...] = option(
        "Taints of nodes that the pods tolerate: KEY=VALUE:EFFECT, KEY:EFFECT or KEY.",
        group="Kubernetes", parse=clusterforms.tolerations, form="TAINT[,TAINT…]", default=(),
    )  # fmt: skip
    cluster_spec: str = option(
        "A Python file with an object named cluster, whose with_pod(pod) may change each pod before it is created.",
        group="Kubernetes", parse=forms.path, form="FILE",
    )  # fmt: skip
    yaml: str = option(
        "Write what would be submitted to the cluster to this file, and submit nothing.",
        group="Kubernetes", parse=forms.path, form="FILE",
    )  # fmt: skip

    @property
    def on_kubernetes(self) -> bool:
        """Whether the job's processes are pods."""
        return self.platform == "kubernetes"
