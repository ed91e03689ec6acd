"""Servers of PostgreSQL and MariaDB for tests: private ones, in temporary folders, on free ports of this machine."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import sqlalchemy as sa
from requirements_of_tests import mariadb_program, postgresql_program

PATIENCE_SECONDS = 120.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def folder_of(user: str) -> Iterator[tuple[Path, str | None]]:
    """A folder that the server may write to, and the account it has to run as: these servers refuse to be root."""
    account = None
    path = Path(tempfile.mkdtemp(prefix="elasticdl-db-"))
    try:
        if os.getuid() == 0:
            account = user
            os.chown(path, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        yield path, account
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def running(command: Sequence[str], account: str | None, log: Path, url: str) -> Iterator[str]:
    """Run a server until the block ends; begins once it answers."""
    with open(log, "wb") as output:
        process = subprocess.Popen(command, user=account, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        try:
            engine = sa.create_engine(url, poolclass=sa.NullPool)
            deadline = time.monotonic() + PATIENCE_SECONDS
            while True:
                assert process.poll() is None, log.read_text()
                try:
                    with engine.connect():
                        break
                except sa.exc.OperationalError:
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.1)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL database whose owner is `tester`."""
    with folder_of("postgres") as (folder, account):
        data, port = folder / "data", free_port()
        subprocess.run(
            [postgresql_program("initdb"), "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync",
             "--no-locale"], check=True, capture_output=True, user=account,
        )  # fmt: skip
        command = [
            postgresql_program("postgres"), "-D", str(data), "-p", str(port), "-k", str(folder), "-h", "127.0.0.1",
            "-F",
        ]  # fmt: skip
        url = f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
        with running(command, account, folder / "log", url):
            yield url


@contextlib.contextmanager
def mariadb() -> Iterator[str]:
    """The URL of a MariaDB database, `test`, whose account `tester` may do everything."""
    with folder_of("mysql") as (folder, account):
        data, port = folder / "data", free_port()
        subprocess.run(
            [mariadb_program("mariadb-install-db"), "--no-defaults", f"--datadir={data}", "--skip-test-db",
             "--auth-root-authentication-method=normal"], check=True, capture_output=True, user=account,
        )  # fmt: skip
        first = folder / "first.sql"
        # A statement a line.
        first.write_text(
            "CREATE DATABASE test;\n"
            "CREATE USER tester@'127.0.0.1' IDENTIFIED BY 'p@ss';\n"
            "GRANT ALL ON *.* TO tester@'127.0.0.1' WITH GRANT OPTION;\n"
        )
        first.chmod(0o644)
        command = [
            mariadb_program("mariadbd"), "--no-defaults", f"--datadir={data}", f"--port={port}",
            "--bind-address=127.0.0.1", f"--socket={folder}/socket", f"--pid-file={folder}/pid", "--skip-name-resolve",
            f"--init-file={first}",
        ]  # fmt: skip
        with running(command, account, folder / "log", f"mysql+pymysql://tester:p%40ss@127.0.0.1:{port}/test") as url:
            yield url
