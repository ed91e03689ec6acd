"""SQLFlow's own client, from PyPI, in both of its modes: listening to a stream, and fetching from a job."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from clients_of_others import SQLFLOW

from elasticdl_nb.cli.serving import session_opener
from elasticdl_nb.sql.server.service import SQLFlowService
from elasticdl_nb.sql.server.serving import Server

pytestmark = [pytest.mark.needs("sqlflow"), pytest.mark.timeout(900)]

# Prints a line of JSON for each statement: the rows of each result, what was logged, and what was displayed as HTML.
ASK = """
import io, json, logging, sys
import IPython.core.display
import sqlflow.client

shown, logged = [], io.StringIO()
IPython.core.display.display = lambda html: shown.append(html.data)
logger = sqlflow.client._LOGGER
logger.handlers = [logging.StreamHandler(logged)]
client = sqlflow.client.Client()
for sql in json.load(sys.stdin):
    shown.clear(), logged.seek(0), logged.truncate()
    answer = {}
    try:
        found = client.execute(sql)
        answer["rows"] = [list(one.rows()) for one, _, _ in found._messages] if found else None
        answer["names"] = [one.column_names() for one, _, _ in found._messages] if found else None
    except Exception as error:
        answer["error"] = error.details()
    print(json.dumps({**answer, "logged": logged.getvalue(), "html": list(shown)}, default=str), flush=True)
"""
TRAIN = """
SELECT name, role, salary FROM employee
TRAIN regressor.DNN WITH hidden_units=[10, 100, 20, 5], learning_rate=0.01 INTO mymodel;
SELECT name, role FROM testdata PREDICT testdata.predicted_salary USING mymodel;
SELECT count(predicted_salary) AS n FROM testdata;
SELECT name, role, salary FROM employee EXPLAIN mymodel WITH rows=20, repeats=1;
"""


@pytest.fixture(params=["streaming", "background"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    path = str(tmp_path / "company.duckdb")
    with duckdb.connect(path) as connection:
        connection.execute(
            "CREATE TABLE employee AS SELECT 'name ' || i % 40 AS name, ['clerk', 'engineer', 'head'][i % 3 + 1] AS "
            "role, (i % 3 + 1) * 1000 + i % 7 AS salary FROM range(300) numbers(i)"
        )
        connection.execute("CREATE TABLE testdata AS SELECT name, role FROM employee LIMIT 50")
    service = SQLFlowService(
        session_opener(path, str(tmp_path / "models")), "secret", in_background=request.param == "background"
    )
    server = Server(service, "127.0.0.1", 0)
    server.start()
    yield server
    server.stop()


def _environment(server: Server) -> dict[str, str]:
    return SQLFLOW.environment(SQLFLOW_SERVER=f"127.0.0.1:{server.port}", SQLFLOW_USER_TOKEN="secret")


def ask(server: Server, *statements: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", ASK], input=json.dumps(statements), text=True, capture_output=True, check=True,
        env=_environment(server),
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_the_client_gets(server: Server) -> None:
    one, two, types, nothing, among, plain, wrong, half, again = ask(
        server,
        "SELECT 1 AS a, 'x' AS b",
        "SELECT 1 AS a; SELECT 2 AS b;\nSELECT 3 AS c, 4 AS d",
        "SELECT 1.25::DECIMAL(5, 2) AS a, sum(i) AS b, NULL AS c, [1, 2] AS d, DATE '2020-01-02' AS e, -0.5 AS f, "
        "DATE '12000-01-01' AS g, TIMESTAMP '1969-12-31 23:59:59.5' AS h FROM range(3) r(i)",
        "SELECT 1 AS a WHERE false",
        "SELECT 1 AS a WHERE false; SELECT 2 AS b; SELECT 3 AS c WHERE false; SELECT 4 AS d",
        "CREATE TABLE made AS SELECT 5 AS x",
        "SELECT * FROM nowhere",
        "SELECT 6 AS x; SELECT * FROM nowhere",
        "SELECT i, i * 0.5::DOUBLE AS half FROM range(3000) t(i)",
    )
    assert (one["rows"], one["names"]) == ([[[1, "x"]]], [["a", "b"]])
    assert (two["rows"], two["names"]) == ([[[1]], [[2]], [[3, 4]]], [["a"], ["b"], ["c", "d"]])
    assert types["rows"] == [[[
        1.25, 3, None, "[1, 2]", "2020-01-02 00:00:00", -0.5, "12000-01-01", "1969-12-31 23:59:59.500000"
    ]]]  # fmt: skip
    assert nothing["rows"] == [[]] or "no rows; the columns are a" in nothing["logged"]
    assert (among["rows"], among["names"]) == ([[[2]], [[4]]], [["b"], ["d"]])
    assert "the columns are a" in among["logged"] and "the columns are c" in among["logged"]
    assert "Done." in plain["logged"]
    assert "nowhere" in wrong["error"] and "nowhere" in half["error"]
    assert again["rows"] == [[[number, number / 2] for number in range(3000)]]


def test_under_papermill(server: Server, tmp_path: Path) -> None:
    """The first design's statements, and a picture, in one cell; then a wrong statement, and one after it."""
    import nbformat

    cells = [
        "%load_ext sqlflow.magic",
        f"%%sqlflow\n{TRAIN}",
        "try:\n    get_ipython().run_cell_magic('sqlflow', '', 'SELECT * FROM nowhere')\nexcept Exception as error:\n"
        "    print('refused:', error.details())",
        "%%sqlflow\nSELECT 1.5::DECIMAL(3, 1) AS still_there",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    source, target = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    nbformat.write(notebook, source)
    subprocess.run(
        [sys.executable, "-c", "import sys, papermill; papermill.execute_notebook(*sys.argv[1:], progress_bar=False)",
         source, target], check=True, capture_output=True, env=_environment(server),
    )  # fmt: skip
    _, statements, wrong, after = nbformat.read(target, as_version=4).cells
    text = "".join(output.get("text", "") for output in statements.outputs)
    assert "label: salary, the last column of the query" in text and "50 rows predicted" in text
    pages = [output.data.get("text/html", "") for output in statements.outputs if "data" in output]
    assert any(page.startswith('<div align="center"><img src="data:image/svg+xml;base64,') for page in pages)
    assert any("<td>50</td>" in page for page in pages)
    assert "base64" not in text
    assert "refused: DuckDB: Catalog Error: Table with name nowhere" in wrong.outputs[0].text
    assert "<td>1.5</td>" in after.outputs[0].data["text/html"]


def test_an_interrupt_leaves_the_client_and_the_server_usable(server: Server, tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import os, signal, threading, time
        import sqlflow.client
        client = sqlflow.client.Client()
        threading.Timer(3, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            client.execute("SELECT count(*) AS n FROM range(9000000) a, range(900) b WHERE hash(a.range + b.range) = 1")
            print("it ended")
        except KeyboardInterrupt:
            print("interrupted")
        print(client.execute("SELECT 7 AS x").get(0).to_dataframe().values.tolist())
    """)
    done = subprocess.run(
        [sys.executable, "-c", program], text=True, capture_output=True, timeout=120,
        env=_environment(server),
    )  # fmt: skip
    assert done.stdout.splitlines() == ["interrupted", "[[7]]"], done.stderr
