"""Two jobs on a cluster with room for less than both: side by side, or one after the other.

Brings up the tests' Kubernetes cluster, whose only node gets SLOTS places for workers; each job wants WANTED of them.
Every step sleeps for 0.3 seconds, as if an accelerator computed it, so that the jobs share the places and not this
machine's cores. Side by side, they grow as there is room. Without elasticity, a job starts once all of its workers can,
which is after the other job.

    python benchmarks/elastic_cluster.py
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [os.fspath(ROOT / "tests"), os.fspath(ROOT / "tests" / "cluster")]

import engine  # noqa: E402
import kubernetes_cluster  # noqa: E402
from cluster_jobs import MODEL, RECORDS, Volume, options  # noqa: E402
from requirements_of_tests import why_missing  # noqa: E402

import elasticdl_nb  # noqa: E402
from elasticdl_nb import images  # noqa: E402
from elasticdl_nb.job import Job  # noqa: E402
from elasticdl_nb.runtime.platform.kubeapi import Cluster  # noqa: E402
from elasticdl_nb.runtime.spec import JobSpec  # noqa: E402

SLOTS, WANTED = 4, 3
MASTER_AND_SERVER = 60
"""Thousandths of a core that a job's master and server request together."""


class Use:
    """How many of the node's places workers use, checked twice a second."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._over = cluster, threading.Event()
        self._samples: list[int] = []
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.5):
            pods = self._cluster.list("Pod", "app=elasticdl,elasticdl-replica-type=worker")
            self._samples.append(sum((pod.get("status") or {}).get("phase") == "Running" for pod in pods))

    def end(self) -> float:
        """Return the share of the places that was used on average."""
        self._over.set()
        self._thread.join()
        return sum(self._samples) / len(self._samples) / SLOTS if self._samples else 0.0


def place(cluster: Cluster) -> int:
    """Return the thousandths of a core that a worker must request, so that there is room for SLOTS of them."""
    import kubernetes.client

    (node,) = kubernetes.client.CoreV1Api(cluster.sibling()).list_node().items
    cores = node.status.allocatable["cpu"]
    thousandths = int(cores[:-1]) if cores.endswith("m") else 1000 * int(cores)
    return (thousandths - 2 * MASTER_AND_SERVER) // SLOTS


def main() -> None:
    """Measure both ways, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3, help="Epochs of each job, 120 steps each.")
    parsed = parser.parse_args()
    if problem := why_missing("docker") or (kubernetes_cluster.is_built() and why_missing("kubernetes")):
        print(f"left out: {problem}")
        return
    with tempfile.TemporaryDirectory() as temporary, engine.docker_engine():
        os.environ["ELASTICDL_HOME"] = os.path.join(temporary, "home")
        if not kubernetes_cluster.is_built():
            kubernetes_cluster.build()
        zoo = Path(temporary) / "zoo"
        zoo.mkdir()
        (zoo / "small.py").write_text(MODEL)
        spec = JobSpec.create("train", model_def="small", data="/data/x", docker_base_image=engine.framework_image())
        image = images.image_for(spec, zoo)
        with kubernetes_cluster.cluster() as kubeconfig:
            os.environ["KUBECONFIG"] = os.fspath(kubeconfig)
            measure(Path(temporary), image, parsed.epochs)


def measure(folder: Path, image: str, epochs: int) -> None:
    """Run the two jobs one after the other, then side by side."""
    cluster = Cluster()
    volume = Volume(folder / "volume")
    volume.hold()  # every step sleeps
    share = place(cluster)
    more = {
        "worker_resource_request": f"cpu={share}m,memory=100Mi", "master_resource_request": "cpu=30m,memory=64Mi",
        "ps_resource_request": "cpu=30m,memory=64Mi", "num_workers": WANTED, "num_epochs": epochs,
    }  # fmt: skip

    def start(name: str) -> Job:
        given: dict[str, Any] = options(volume, image, job_name=name, output=f"/data/{name}", **more)
        return elasticdl_nb.train(**given, wait=False)

    print(f"{SLOTS} places, two jobs of {WANTED} workers, {epochs * RECORDS} records each", flush=True)
    results = {}
    for way in ("one after the other", "elastic"):
        use, began = Use(cluster), time.monotonic()
        if way == "elastic":
            jobs = [start("elastic-a"), start("elastic-b")]
            ends = [job.wait() for job in jobs]
        else:
            ends = [start(name).wait() for name in ("single-a", "single-b")]
        seconds = time.monotonic() - began
        results[way] = seconds, use.end()
        for job in ends:
            assert job.status().records_done == epochs * RECORDS
            job.delete()
    print(f"{'':<22}{'makespan':>10}{'places used':>14}")
    for way, (seconds, used) in results.items():
        print(f"{way:<22}{seconds:>9.1f}s{used:>13.0%}")
    single, elastic = results["one after the other"][0], results["elastic"][0]
    print(f"elastic takes {elastic / single:.2f} of the time")


if __name__ == "__main__":
    main()
