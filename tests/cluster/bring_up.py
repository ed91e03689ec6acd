"""Brings up by hand what the tests of images and of Kubernetes bring up by themselves.

bring_up.py prepare     build Kubernetes and the base images, unless they are there (minutes; kept for later runs)
bring_up.py run         run Docker engine, registry and Kubernetes until Ctrl-C; tests that run meanwhile share them
"""

from __future__ import annotations

import contextlib
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import engine
import kubernetes_cluster


def _prepare() -> None:
    with ThreadPoolExecutor() as pool, engine.docker_engine():
        for done in [pool.submit(kubernetes_cluster.build), pool.submit(engine.framework_image)]:
            done.result()


def _run() -> None:
    with engine.docker_engine(), engine.image_registry() as registry, kubernetes_cluster.cluster() as kubeconfig:
        print(f"registry: {registry}\nexport KUBECONFIG={kubeconfig}", flush=True)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    commands = {"prepare": _prepare, "run": _run}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]]()
