from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import database_servers
import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Jobs and models of a test stay in the test's own directory."""
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A PostgreSQL database of the tests' own."""
    with database_servers.postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def mariadb_url() -> Iterator[str]:
    """A MariaDB database of the tests' own."""
    with database_servers.mariadb() as url:
        yield url
