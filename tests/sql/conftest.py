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
def postgresql_server() -> Iterator[database_servers.Server]:
    """A PostgreSQL server of the tests' own."""
    with database_servers.postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[database_servers.Server]:
    """A MariaDB server of the tests' own."""
    with database_servers.mariadb() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_url(postgresql_server: database_servers.Server) -> str:
    """A PostgreSQL database of the tests' own."""
    return postgresql_server.url


@pytest.fixture(scope="session")
def mariadb_url(mariadb_server: database_servers.Server) -> str:
    """A MariaDB database of the tests' own."""
    return mariadb_server.url
