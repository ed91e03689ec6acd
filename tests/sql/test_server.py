"""SQLFlow's service over a real connection: what its clients get."""

from __future__ import annotations

import datetime
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pytest
from google.protobuf import wrappers_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from elasticdl_nb.cli.serving import session_opener
from elasticdl_nb.sql.language.parser import parse
from elasticdl_nb.sql.protocol import sqlflow_pb2 as pb
from elasticdl_nb.sql.protocol.sqlflow_pb2_grpc import SQLFlowStub
from elasticdl_nb.sql.result import Result
from elasticdl_nb.sql.server import serving
from elasticdl_nb.sql.server.encoding import Style, responses
from elasticdl_nb.sql.server.service import SQLFlowService, as_url
from elasticdl_nb.sql.server.serving import LARGEST_REQUEST, Server

TOKEN = "a token"


class Client:
    """Reads responses as SQLFlow's Python client does."""

    def __init__(self, port: int, token: str = TOKEN, database: str = "") -> None:
        self.port = port
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.stub: Any = SQLFlowStub(self.channel)
        self.session = pb.Session(token=token, db_conn_str=database, exit_on_submit=True, user_id="someone")

    def run(self, sql: str) -> list[pb.Response]:
        return list(self.stub.Run(pb.Request(sql=sql, session=self.session)))

    def rows(self, sql: str) -> tuple[list[str], list[list[Any]]]:
        head, *rows = self.run(sql)
        assert head.WhichOneof("response") == "head"
        return list(head.head.column_names), [[decoded(value) for value in one.row.data] for one in rows]


def decoded(packed: Any) -> Any:
    for name in wrappers_pb2.DESCRIPTOR.message_types_by_name:
        message = getattr(wrappers_pb2, name)()
        if packed.Unpack(message):
            return message.value
    if packed.Is(pb.Row.Null.DESCRIPTOR):
        return None
    stamp = Timestamp()
    assert packed.Unpack(stamp)
    return stamp.ToDatetime()


def serve(tmp_path: Path, connect: str = "", *, in_background: bool = False) -> tuple[Server, int]:
    opener = session_opener(connect, str(tmp_path / "models"))
    server = Server(SQLFlowService(opener, TOKEN, in_background=in_background), "127.0.0.1", 0)
    server.start()
    return server, server.port


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    server, port = serve(tmp_path)
    client = Client(port)
    yield client
    client.channel.close()
    server.stop()


def kinds(responses: list[pb.Response]) -> list[str | None]:
    return [response.WhichOneof("response") for response in responses]


def test_rows_of_every_type_arrive(client: Client) -> None:
    names, rows = client.rows(
        "SELECT true AS a, 1::TINYINT AS b, 2 AS c, 3::BIGINT AS d, 4::UINTEGER AS e, 5::UBIGINT AS f, "
        "1.5::FLOAT AS g, 2.5::DOUBLE AS h, 'text' AS i, 'raw'::BLOB AS j, "
        "TIMESTAMP '2020-01-02 03:04:05.5' AS k, DATE '2020-01-02' AS l, "
        "1.25::DECIMAL(5, 2) AS m, [1, NULL] AS n, NULL AS o, TIME '01:02:03' AS p"
    )
    assert names == list("abcdefghijklmnop")
    assert rows == [[
        True, 1, 2, 3, 4, 5, 1.5, 2.5, "text", b"raw", datetime.datetime(2020, 1, 2, 3, 4, 5, 500_000),
        datetime.datetime(2020, 1, 2), 1.25, "[1, null]", None, "01:02:03",
    ]]  # fmt: skip


def test_many_rows_come_in_order(client: Client) -> None:
    names, rows = client.rows("SELECT i, i * 0.5::DOUBLE AS half FROM range(3000) t(i)")
    assert names == ["i", "half"]
    assert rows == [[number, number / 2] for number in range(3000)]


def test_a_query_without_rows_has_a_head(client: Client) -> None:
    assert client.rows("SELECT 1 AS a WHERE false") == (["a"], [])


def test_several_statements_are_told_apart(client: Client) -> None:
    responses = client.run("CREATE TABLE t AS SELECT 1 AS a; SELECT * FROM t;\nSELECT a + 1 AS b FROM t -- more")
    ends = [response.eoe for response in responses if response.WhichOneof("response") == "eoe"]
    assert [end.sql for end in ends] == [
        "CREATE TABLE t AS SELECT 1 AS a",
        "SELECT * FROM t",
        "SELECT a + 1 AS b FROM t",
    ]
    assert kinds(responses)[-3:] == ["head", "row", "eoe"]
    assert "eoe" not in kinds(client.run("SELECT * FROM t"))


def test_the_database_in_memory_is_one_for_all_calls(client: Client) -> None:
    client.run("CREATE TABLE kept AS SELECT 42 AS answer")
    assert client.rows("SELECT * FROM kept")[1] == [[42]]


def test_a_client_may_name_its_database(client: Client, tmp_path: Path) -> None:
    other = tmp_path / "other.duckdb"
    client.session.db_conn_str = f"duckdb:///{other}"
    client.run("CREATE TABLE there AS SELECT 7 AS x")
    assert other.exists()
    assert client.rows("SELECT * FROM there")[1] == [[7]]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT * FROM nowhere", "nowhere"),
        ("SELECT 1 TO TRAIN DNN WIHT a=1 INTO m", "line 1, column 23"),
        ("SHOW TRAIN nothing", "nothing"),
    ],
)
def test_mistakes_are_told_by_their_message(client: Client, sql: str, words: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.run(sql)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert words in caught.value.details()


def test_what_came_before_a_mistake_has_happened(client: Client) -> None:
    stream = client.stub.Run(pb.Request(sql="SELECT 5 AS x; SELECT * FROM nowhere", session=client.session))
    seen = []
    with pytest.raises(grpc.RpcError):
        for response in stream:
            seen.append(response.WhichOneof("response"))
    assert seen == ["head", "row", "eoe"]


def test_nobody_gets_in_without_the_token(client: Client) -> None:
    for wrong in ("", "another"):
        client.session.token = wrong
        with pytest.raises(grpc.RpcError) as caught:
            client.run("SELECT 1")
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_a_client_that_leaves_ends_its_program(client: Client) -> None:
    stream = client.stub.Run(pb.Request(sql="SELECT * FROM range(3000000)", session=client.session))
    next(stream)
    stream.cancel()
    assert client.rows("SELECT 1 AS x")[1] == [[1]]


def test_in_the_background_responses_are_fetched(tmp_path: Path) -> None:
    server, port = serve(tmp_path, in_background=True)
    client = Client(port)
    (first,) = client.run("SELECT i FROM range(3) t(i); SELECT 'end' AS x")
    assert first.WhichOneof("response") == "job"
    assert client_fetches(client, first.job.id) == ["head", "row", "row", "row", "eoe", "head", "row", "eoe"]
    with pytest.raises(grpc.RpcError) as caught:
        client.stub.Fetch(pb.FetchRequest(job=pb.Job(id="sqlflow-0")))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    (failing,) = client.run("SELECT 1 AS x; SELECT * FROM nowhere")
    with pytest.raises(grpc.RpcError) as caught:
        client_fetches(client, failing.job.id)
    assert "nowhere" in caught.value.details()
    client.channel.close()
    server.stop()


def client_fetches(client: Client, name: str) -> list[str | None]:
    request = pb.FetchRequest(job=pb.Job(id=name))
    seen: list[str | None] = []
    for _ in range(300):
        answer = client.stub.Fetch(request)
        seen += kinds(answer.responses.response)
        if answer.eof:
            return seen
        request = answer.updated_fetch_since
        time.sleep(0.1)
    raise AssertionError("it does not end")


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("mysql://root:root@tcp(127.0.0.1:3306)/iris?maxAllowedPacket=0", "mysql://root:root@127.0.0.1:3306/iris"),
        ("mysql://a b:p@ss@tcp(h:1)/", "mysql://a%20b:p%40ss@h:1/"),
        ("mysql://tcp(h:1)/db", "mysql://h:1/db"),
        ("mysql://u:p@tcp(h)/", "mysql://u:p@h/"),
        ("mysql://u:p@tcp(h)", "mysql://u:p@h/"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("", ""),
    ],
)
def test_addresses_in_go_s_form_are_understood(written: str, url: str) -> None:
    assert as_url(written) == url


def test_a_statement_gives_messages_or_rows_but_never_both() -> None:
    (statement,) = parse("SELECT 1 TO EXPLAIN m")
    table = pa.table({"feature": ["sex"], "importance": [0.5]})
    explained = Result(statement, table, ("mixed",), plot="<svg/>")
    listened, several, fetched = Style(), Style(several=True), Style(fetched=True)
    given = sent(explained, listened)
    # The client takes a message for HTML only where a run of messages begins.
    assert kinds(given) == ["message", "message", "eoe", "message"]
    assert "importance" in given[1].message.message
    assert re.fullmatch("<div.*?>.*</div>", given[3].message.message)
    assert kinds(sent(explained, fetched)) == ["message"] * 3
    assert sent(explained, fetched)[2].message.message.startswith("data:text/html,<div")
    assert kinds(sent(Result(statement, table), listened)) == ["head", "row"]
    assert kinds(sent(Result(statement, table), listened, spoken=True)) == ["message"]
    assert kinds(sent(Result(statement, table[:0]), listened)) == ["head"]
    assert kinds(sent(Result(statement, table[:0]), several)) == ["message"]
    assert kinds(sent(Result(statement), listened)) == ["message"]
    assert kinds(sent(Result(statement), listened, spoken=True)) == []


def sent(result: Result, style: Style, *, spoken: bool = False) -> list[pb.Response]:
    found = [one for some in responses(result, style, spoken=spoken) for one in some]
    return [pb.Response.FromString(one) for one in found]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_with_a_certificate_the_connection_is_encrypted(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    opener = session_opener("", str(tmp_path / "models"))
    server = Server(SQLFlowService(opener, TOKEN), "localhost", 0, credentials)
    server.start()
    request = pb.Request(sql="SELECT 1 AS x", session=pb.Session(token=TOKEN))
    with grpc.secure_channel(
        f"localhost:{server.port}", grpc.ssl_channel_credentials(certificate.read_bytes())
    ) as channel:
        assert kinds(list(SQLFlowStub(channel).Run(request, timeout=60))) == ["head", "row"]
    with grpc.insecure_channel(f"localhost:{server.port}") as channel, pytest.raises(grpc.RpcError):
        list(SQLFlowStub(channel).Run(request, timeout=10))
    server.stop()


def test_calls_without_a_request_keep_nobody_out(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than there are threads: each is ended in its time, and others are served meanwhile."""
    monkeypatch.setattr(serving, "STRANGERS_SECONDS", 1.5)
    silent = threading.Event()

    def nothing() -> Iterator[pb.Request]:
        silent.wait(20)
        yield from ()

    with ExitStack() as stack:
        stack.callback(silent.set)
        calls = []
        for _ in range(5):  # a connection takes so many calls at once, and the next one more
            channel = grpc.insecure_channel(
                f"127.0.0.1:{client.port}", [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
            )
            stack.callback(channel.close)
            run = channel.stream_stream("/proto.SQLFlow/Run", pb.Request.SerializeToString, pb.Response.FromString)
            calls += [run(nothing()) for _ in range(10)]
        assert client.rows("SELECT 1 AS a") == (["a"], [[1]])
        for one in calls:
            with pytest.raises(grpc.RpcError) as caught:
                list(one)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert "no request came within 1.5 seconds" in caught.value.details()


def test_a_request_has_a_size_that_it_may_have(client: Client) -> None:
    longest = "SELECT 1 AS a --"
    longest += "x" * (LARGEST_REQUEST - len(longest) - 200)
    assert client.rows(longest) == (["a"], [[1]])
    with pytest.raises(grpc.RpcError, match="larger than"):
        client.run(longest + "x" * 400)
