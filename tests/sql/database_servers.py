"""Servers of PostgreSQL and MariaDB for tests: private ones, in temporary folders, on free ports of this machine."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
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


class Server:
    """A database server, which may be stopped and started again; `stop_signal` ends it without waiting for clients."""

    def __init__(
        self, command: Sequence[str], account: str | None, log: Path, url: str, stop_signal: int = signal.SIGTERM
    ) -> None:
        self.url = url
        self._command, self._account, self._log, self._stop_signal = command, account, log, stop_signal
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with open(self._log, "ab") as output:
            self._process = subprocess.Popen(
                self._command, user=self._account, stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            assert self._process.poll() is None, self._log.read_text()
            try:
                with engine.connect():
                    return
            except sa.exc.OperationalError:
                assert time.monotonic() < deadline, self._log.read_text()
                time.sleep(0.1)

    def stop(self) -> None:
        """Stop it, whoever is connected."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(self._stop_signal)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self) -> None:
        """Stop it and start it again."""
        self.stop()
        self.start()


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """Run a server until the block ends; begins once it answers."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def postgresql() -> Iterator[Server]:
    """A PostgreSQL server; its URL has a database whose owner is `tester`."""
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
        with running(Server(command, account, folder / "log", url, signal.SIGINT)) as server:
            yield server


@contextlib.contextmanager
def mariadb() -> Iterator[Server]:
    """A MariaDB server; its URL has a database, `test`, whose account `tester` may do everything."""
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
        url = f"mysql+pymysql://tester:p%40ss@127.0.0.1:{port}/test"
        with running(Server(command, account, folder / "log", url)) as server:
            yield server
