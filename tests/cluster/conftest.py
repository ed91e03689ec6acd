"""Docker, an image registry and Kubernetes for tests that are marked with what they need of these."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import engine
import kubernetes_cluster
import pytest


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[None]:
    """A Docker engine."""
    with engine.docker_engine():
        yield


@pytest.fixture(scope="session")
def registry(docker_engine: None) -> Iterator[str]:
    """The address of an image registry that the engine may push to."""
    with engine.image_registry() as address:
        yield address


@pytest.fixture(scope="session")
def python_image(docker_engine: None) -> str:
    """A small image with Python 3.11 and pip."""
    return engine.python_image()


@pytest.fixture(scope="session")
def framework_image(docker_engine: None) -> str:
    """An image with what elasticdl_nb depends on, to build its images on in seconds."""
    return engine.framework_image()


@pytest.fixture(scope="session")
def kubernetes(docker_engine: None) -> Iterator[Path]:
    """The kube-config of a cluster's administrator; KUBECONFIG names it while the tests run."""
    if not kubernetes_cluster.is_built():
        kubernetes_cluster.build()
    with kubernetes_cluster.cluster() as kubeconfig, pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", os.fspath(kubeconfig))
        yield kubeconfig


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the first test wait for what is still being built."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(1500))
