"""What tests of jobs on a real cluster have in common: a tiny model that can be held, its data, and waiting."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from elasticdl_nb.job import Job
from elasticdl_nb.runtime.platform.kubeapi import Cluster, Object
from elasticdl_nb.runtime.platform.manifests import selector

MODEL = """
import os
import time

import keras
import tensorflow as tf


def custom_model():
    x = keras.Input((2,), name="x")
    return keras.Model({"x": x}, keras.layers.Dense(1)(keras.layers.Dense(4, activation="relu")(x)))


def loss(labels, output):
    return keras.ops.mean(keras.ops.square(keras.ops.reshape(labels, (-1, 1)) - output))


def optimizer():
    return keras.optimizers.SGD(0.01)


def dataset_fn(dataset, mode):
    def parse(record):
        fields = tf.strings.to_number(tf.reshape(record, (3,)))
        return {"x": fields[:2]}, fields[2]

    return dataset.map(parse)


class Held(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        if os.path.exists("/data/hold"):
            time.sleep(0.3)


def callbacks():
    return [Held()]
"""
RECORDS = 3000
WAIT_SECONDS = 400.0


class Volume:
    """A folder of this machine that the pods of the one node see at /data."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        path.chmod(0o777)  # the pods' user is another one
        source = random.Random(0)
        lines = ["a,b,y"]
        for _ in range(RECORDS):
            a, b = source.gauss(0, 1), source.gauss(0, 1)
            lines.append(f"{a:.3f},{b:.3f},{a - b:.3f}")
        (path / "train.csv").write_text("\n".join(lines) + "\n")

    @property
    def option(self) -> str:
        """The value of a job's option `volume`."""
        return f"host_path={self.path},mount_path=/data"

    def hold(self) -> None:
        """Let every step of training take a third of a second."""
        (self.path / "hold").touch()

    def release(self) -> None:
        """Let training go on at full speed."""
        (self.path / "hold").unlink(missing_ok=True)


def options(volume: Volume, image: str, **more: Any) -> dict[str, Any]:
    """Options of a small training job on the cluster."""
    return {
        "platform": "kubernetes", "image_name": image, "image_pull_policy": "Never", "volume": volume.option,
        "model_def": "small.custom_model", "data": "/data/train.csv", "saved_model": False, "minibatch_size": 25,
        "num_minibatches_per_task": 4, "distribution_strategy": "ParameterServerStrategy",
        "worker_resource_request": "cpu=100m,memory=300Mi", "ps_resource_request": "cpu=50m,memory=100Mi",
        "master_resource_request": "cpu=50m,memory=100Mi", **more,
    }  # fmt: skip


def until(true: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS) -> Any:
    """Wait until something is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.2)
    return found


def pods(cluster: Cluster, job: Job, role: str) -> list[Object]:
    """Return the pods of a role that are not on their way out."""
    found = cluster.list("Pod", f"{selector(job.name)},elasticdl-replica-type={role}")
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def left_of(cluster: Cluster, job: Job) -> list[str]:
    """Return what the cluster has of a job."""
    kinds = ("Job", "Pod", "Secret", "ConfigMap", "Service", "ServiceAccount", "Role", "RoleBinding")
    return [f"{kind} {one['metadata']['name']}" for kind in kinds for one in cluster.list(kind, selector(job.name))]


def containers_of(job: Job) -> list[str]:
    """Return the containers that the engine has of a job's pods."""
    command = f"docker ps --all --quiet --filter label=io.kubernetes.pod.name --filter name=_elasticdl-{job.name}-"
    return os.popen(command).read().split()
