"""The extension of the Jupyter server: who may talk to it, and what it does."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from jupyter_core.utils import ensure_async
from jupyter_server.serverapp import ServerApp
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.widgets.jupyterserver import UNKNOWN_JOB
from elasticdl_nb.widgets.liveoutput import live_bundle

TOKEN = secrets.token_hex(8)
CONFIG = Path(__file__).parents[2] / "widgets" / "jupyter_server_config.d" / "elasticdl_nb.json"


def job(name: str, detail: str) -> JobFolder:
    """A job that has ended."""
    folder = JobFolder.create(JobSpec(kind="train", job_name=name, model_def="m.model", data=["d.csv"], output="out"))
    folder.write_status(pb.JobStatus(name=name, kind="train", phase=pb.CANCELLED, detail=detail))
    folder.mark_over()
    folder.log_path("master").write_text("what the master says")
    return folder


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerApp]:
    for name in ("ELASTICDL_HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    app = ServerApp(
        jpserver_extensions=json.loads(CONFIG.read_text())["ServerApp"]["jpserver_extensions"], port=0, port_retries=0,
        ip="127.0.0.1", open_browser=False, allow_root=True, root_dir=str(tmp_path), base_url="/hub/",
    )  # fmt: skip
    app.initialize(argv=[f"--IdentityProvider.token={TOKEN}"], find_extensions=False, new_httpserver=True)
    yield app
    app.http_server.stop()
    ServerApp.clear_instance()


async def converse(
    server: ServerApp, path: str, headers: dict[str, str], *requests: object
) -> tuple[list[dict], int | None]:
    """What the server says until it ends the conversation, and the code that it ends it with."""
    port = next(iter(server.http_server._sockets.values())).getsockname()[1]
    request = HTTPRequest(f"ws://127.0.0.1:{port}/hub/elasticdl/jobs/{path}", headers=headers)
    connection: WebSocketClientConnection = await websocket_connect(request)
    for one in requests:
        await connection.write_message(json.dumps(one))
    said = []
    while (message := await asyncio.wait_for(connection.read_message(), 30)) is not None:
        said.append(json.loads(message))
    return said, connection.close_code


def test_pages_talk_to_it_and_strangers_do_not(server: ServerApp) -> None:
    first = job("flights", "the first of its name")
    identity = first.identity
    job("flights", "another of its name")
    mine = {"Authorization": f"token {TOKEN}"}

    async def everything() -> None:
        said, _ = await converse(server, f"flights/live?identity={identity}", mine, {"ask": "no logs"})
        assert said[0]["begin"]["parts"][0] == "head"
        assert "the first of its name" in said[-1]["parts"]["head"] and said[-1]["over"]
        said, _ = await converse(server, "flights/live?identity=", mine)
        assert "another of its name" in said[-1]["parts"]["head"]
        assert (await converse(server, "flights/live?identity=0123", mine))[1] == UNKNOWN_JOB
        assert (await converse(server, "nobody/live", mine))[1] == UNKNOWN_JOB
        for headers in ({}, {"Authorization": "token wrong"}, {"Cookie": "username-127-0-0-1=me"}):
            with pytest.raises(HTTPClientError) as refused:
                await converse(server, "flights/live", headers)
            assert refused.value.code == 403
        port = next(iter(server.http_server._sockets.values())).getsockname()[1]
        address = f"http://127.0.0.1:{port}/hub/elasticdl/live.js"
        answer = await AsyncHTTPClient().fetch(HTTPRequest(address, headers=mine))
        assert answer.headers["Content-Type"].startswith("text/javascript") and b"elasticdlShow" in answer.body
        with pytest.raises(HTTPClientError):
            await AsyncHTTPClient().fetch(HTTPRequest(address, follow_redirects=False))

    server.io_loop.asyncio_loop.run_until_complete(everything())  # type: ignore[attr-defined]


def test_a_notebook_is_saved_with_the_latest_pictures_of_its_jobs(server: ServerApp) -> None:
    ended = job("flights", "cancelled by its user")
    older = [
        live_bundle(pb.JobStatus(name=name, phase=pb.RUNNING, detail="as it was", updated_at=1e9), "0a" * 8, identity)
        for name, identity in (("flights", ended.identity), ("flights", "0123"), ("nobody", ""))
    ]
    lines = {**older[0], "text/html": older[0]["text/html"].splitlines(keepends=True)}
    other = {"text/html": "<b>another library's</b>", "text/plain": "another"}
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_markdown_cell("text"),
        nbformat.v4.new_code_cell(outputs=[
            nbformat.v4.new_output("stream", text="printed"),
            *(nbformat.v4.new_output("display_data", data=data) for data in (*older, lines, other)),
        ]),
    ]  # fmt: skip
    model = {"type": "notebook", "format": "json", "content": json.loads(nbformat.writes(notebook))}

    async def save() -> None:
        await ensure_async(server.contents_manager.save(model, "a.ipynb"))

    server.io_loop.asyncio_loop.run_until_complete(save())  # type: ignore[attr-defined]
    saved = nbformat.read(Path(server.root_dir) / "a.ipynb", 4)
    first, unknown, nobody, again, others = [one.data for one in saved.cells[1].outputs[1:]]
    for final in (first, again):
        assert "Cancelled" in final["text/html"] and "<script" not in final["text/html"]
        assert "cancelled by its user" in final["text/plain"]
    assert unknown == older[1] and nobody == older[2] and others == other
