"""The two statements of the first design, word for word, through every face: a live notebook, a shell, a server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import grpc
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

from elasticdl_nb.cli import main
from elasticdl_nb.cli.serving import session_opener
from elasticdl_nb.sql.protocol import sqlflow_pb2 as pb
from elasticdl_nb.sql.protocol.sqlflow_pb2_grpc import SQLFlowStub
from elasticdl_nb.sql.server.service import SQLFlowService
from elasticdl_nb.sql.server.serving import Server

# Each job imports TensorFlow anew, which a busy machine takes its time for.
pytestmark = pytest.mark.timeout(900)
_SECONDS = 600

STATEMENTS = """\
SELECT name, role, salary FROM employee
TRAIN regressor.DNN
WITH hidden_units=[10, 100, 20, 5], learning_rate=0.01
INTO mymodel;

SELECT name, role FROM testdata
PREDICT testdata.predicted_salary
USING mymodel;
"""


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A database of employees; a role says most about a salary."""
    path = str(tmp_path / "company.duckdb")
    with duckdb.connect(path) as connection:
        connection.execute(
            "CREATE TABLE employee AS SELECT 'name ' || i % 40 AS name, ['clerk', 'engineer', 'head'][i % 3 + 1]"
            " AS role, (i % 3 + 1) * 1000 + i % 7 AS salary FROM range(600) numbers(i)"
        )
        connection.execute(
            "CREATE TABLE testdata AS SELECT row_number() OVER () AS id, name, role FROM employee LIMIT 50"
        )
        connection.execute("INSERT INTO testdata VALUES (51, 'nobody', 'unheard of'), (52, NULL, NULL)")
    return path


def check(path: str) -> None:
    """Every row has its prediction, and is otherwise as it was."""
    with duckdb.connect(path) as connection:
        table = connection.sql("SELECT * FROM testdata ORDER BY id").fetchall()
        assert connection.sql("SELECT count(*) FROM employee").fetchall() == [(600,)]
    assert [row[0] for row in table] == list(range(1, 53))
    assert [row[1:3] for row in table[:2]] == [("name 0", "clerk"), ("name 1", "engineer")]
    assert all(isinstance(row[3], float) for row in table)


def test_in_a_shell(database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "statements.sql"
    script.write_text(STATEMENTS)
    assert main(["sql", "-f", str(script), "--connect", database]) == 0
    said = capsys.readouterr()
    assert "train job train-mymodel" in said.err and "succeeded" in said.err
    assert "label: salary, the last column" in said.out
    assert "52 rows predicted into testdata.predicted_salary (new column)" in said.out
    check(database)
    assert main(["sql", "-e", "SHOW MODELS; SHOW TRAIN mymodel; DROP MODEL mymodel; SHOW MODELS"]) == 0
    said = capsys.readouterr()
    assert "regressor.DNN" in said.out and re.search(r"label\s+salary", said.out)
    assert "dropped model mymodel" in said.out and "0 rows" in said.out


def test_through_the_server(database: str) -> None:
    server = Server(SQLFlowService(session_opener(database, ""), "secret"), "127.0.0.1", 0)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        request = pb.Request(sql=STATEMENTS, session=pb.Session(token="secret", exit_on_submit=True))
        responses: list[pb.Response] = list(SQLFlowStub(channel).Run(request, timeout=_SECONDS))
    server.stop()
    kinds = [response.WhichOneof("response") for response in responses]
    assert set(kinds) == {"message", "eoe"} and kinds.count("eoe") == 2
    said = "\n".join(response.message.message for response in responses)
    assert "train job train-mymodel" in said and "52 rows predicted" in said
    assert next(one.eoe.sql for one in responses if one.HasField("eoe")) == STATEMENTS.split(";")[0]
    check(database)


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[BlockingKernelClient]:
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(kernel: BlockingKernelClient, code: str) -> list[dict[str, Any]]:
    """Run a cell as a live notebook does; return its outputs."""
    outputs: list[dict[str, Any]] = []
    reply = kernel.execute_interactive(code, allow_stdin=True, timeout=_SECONDS, output_hook=outputs.append)
    assert reply["content"]["status"] == "ok", reply["content"]
    return [one for one in outputs if one["msg_type"] in ("display_data", "stream", "execute_result")]


def test_in_a_live_notebook(database: str, kernel: BlockingKernelClient) -> None:
    training, predicting, _ = STATEMENTS.split(";")
    run(kernel, "%load_ext elasticdl_nb")
    # A training that nothing waits for goes on by itself, and the notebook with it.
    outputs = run(kernel, f"%%sqlflow --connect {database}\n{training};")
    assert "data-elasticdl" in str(outputs)
    (answer,) = run(kernel, "job.wait(); job.status().kind, job.name")
    assert re.match(r"\('train', 'train-mymodel", answer["content"]["data"]["text/plain"])
    outputs = run(kernel, f"%%sqlflow\n{predicting};")
    assert "data-elasticdl" in str(outputs)
    assert "52 rows predicted" in outputs[-1]["content"]["data"]["text/plain"]
    (answer,) = run(kernel, "job.status().kind")
    assert answer["content"]["data"]["text/plain"] == "'predict'"
    run(kernel, "%sqlflow --connect :memory:")
    check(database)
