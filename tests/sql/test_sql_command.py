"""`elasticdl sql` and `elasticdl sqlflow-server`."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from elasticdl_nb.cli import main
from elasticdl_nb.sql.protocol import sqlflow_pb2 as pb
from elasticdl_nb.sql.protocol.sqlflow_pb2_grpc import SQLFlowStub

Captured = pytest.CaptureFixture[str]


def test_statements_of_a_file_run_in_order(tmp_path: Path, capsys: Captured) -> None:
    script = tmp_path / "script.sql"
    script.write_text("\ufeffCREATE TABLE t AS SELECT i FROM range(30) r(i);\n-- now\nSELECT max(i) AS top FROM t;")
    database = tmp_path / "data.duckdb"
    assert main(["sql", "-f", str(script), f"--connect={database}"]) == 0
    assert "top" in capsys.readouterr().out
    assert main(["sql", "-e", "SELECT * FROM t", "--connect", str(database)]) == 0
    assert "30 rows, of which the first 20 are shown" in capsys.readouterr().out
    assert main(["sql", "-e", "SELECT * FROM t", "--connect", str(database), "--rows=0"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 33


def test_statements_come_from_stdin(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    for arguments in ([], ["-f", "-"]):
        monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 41 + 1 AS answer"))
        assert main(["sql", *arguments]) == 0
        assert "42" in capsys.readouterr().out


def test_json_has_all_rows_and_a_line_for_each_statement(capsys: Captured) -> None:
    text = "SELECT i, DATE '2020-01-01' AS d, 'x'::BLOB AS b FROM range(25) r(i); SHOW MODELS"
    assert main(["sql", "-e", text, "--json"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["columns"] == ["i", "d", "b"]
    assert first["rows"][24] == [24, "2020-01-01", "78"]
    assert second["statement"] == "SHOW MODELS"


def test_parameters_are_bound(capsys: Captured) -> None:
    arguments = ["--param", "n=3", "--param", "name=it's", "--param", "ids=[1, 2]"]
    text = "SELECT :n + 1 AS n, :name AS name, 2 IN :ids AS here"
    assert main(["sql", "-e", text, "--json", *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == [[4, "it's", True]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-e", "SELECT * FROM nowhere"], "nowhere"),
        (["-e", "SELECT 1 TO TRAIN m WIHT a=1 INTO x"], "line 1, column 21"),
        (["-e", "SELECT 1", "-f", "x"], "-f and -e"),
        (["-f", "/nowhere/x.sql"], "--file"),
        (["-e", "SELECT 1", "--param", "x"], "--param"),
        (["-e", "SELECT 1", "--connect", "/nowhere/x.duckdb"], "--connect"),
        (["-e", "SELECT 1", "--conect", "x"], "Did you mean '--connect'?"),
    ],
)
def test_mistakes_are_told_in_one_message(arguments: list[str], words: str, capsys: Captured) -> None:
    assert main(["sql", *arguments]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told


def test_nothing_after_an_error_is_run(tmp_path: Path, capsys: Captured) -> None:
    database = str(tmp_path / "data.duckdb")
    text = "CREATE TABLE a AS SELECT 1 AS x; SELECT * FROM nowhere; DROP TABLE a"
    assert main(["sql", "-e", text, "--connect", database]) == 2
    assert main(["sql", "-e", "SELECT * FROM a", "--connect", database]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "--tls_cert and --tls_key are required"),
        (["--tls_cert", "x"], "--tls_key"),
        (["--tls_cert", "/nowhere/c", "--tls_key", "/nowhere/k"], "cannot be read"),
        (["--host", "0.0.0.0", "--no_token", "--tls_cert", "c", "--tls_key", "k"], "a token is required"),
    ],
)
def test_the_server_refuses_to_be_open(arguments: list[str], words: str, capsys: Captured) -> None:
    assert main(["sqlflow-server", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_the_server_serves_until_it_is_interrupted() -> None:
    environment = dict(os.environ)
    environment.pop("SQLFLOW_USER_TOKEN", None)
    command = [sys.executable, "-u", "-m", "elasticdl_nb", "sqlflow-server", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        said = "".join(server.stdout.readline() for _ in range(3))
        found = re.search(r"SQLFLOW_SERVER=(\S+)\s+export SQLFLOW_USER_TOKEN=(\S+)", said)
        assert found, said
        with grpc.insecure_channel(found[1]) as channel:
            request = pb.Request(sql="SELECT 1 AS x", session=pb.Session(token=found[2]))
            assert len(list(SQLFlowStub(channel).Run(request))) == 2
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
