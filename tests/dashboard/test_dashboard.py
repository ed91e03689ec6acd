"""The master's HTTP endpoint, with the real page behind it."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from elasticdl_nb.job.launch import DASHBOARD
from elasticdl_nb.runtime.master import dashboard as dashboard_module
from elasticdl_nb.runtime.master.dashboard import Dashboard, load_renderer
from elasticdl_nb.runtime.protocol import master_pb2 as pb


def status(**fields) -> pb.JobStatus:
    values = {"name": "my-job", "kind": "train", "phase": pb.RUNNING, "progress": 0.25, "remaining_seconds": 30}
    return pb.JobStatus(**{**values, **fields})


@asynccontextmanager
async def serving(picture: Callable[[], pb.JobStatus]) -> AsyncIterator[str]:
    dashboard = Dashboard(DASHBOARD, picture)
    url = await dashboard.start()
    try:
        yield url
    finally:
        await dashboard.close()


def ask(url: str, page: str = "", method: str = "GET", host: str = "") -> tuple[http.client.HTTPResponse, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    connection.request(method, parts.path + page, headers={"Host": host} if host else {})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def asked(picture: Callable[[], pb.JobStatus], *args, **named):
    async def run():
        async with serving(picture) as url:
            return await asyncio.to_thread(ask, url, *args, **named)

    return asyncio.run(run())


def test_the_page_shows_the_job_and_loads_nothing_else():
    response, body = asked(status)
    text = body.decode()
    assert response.status == 200
    assert "my-job" in text and "25%" in text
    policy = response.headers["Content-Security-Policy"]
    nonce = policy.partition("script-src 'nonce-")[2].partition("'")[0]
    assert policy.startswith("default-src 'none'") and f'nonce="{nonce}"' in text
    assert "http" not in text.replace("http://www.w3.org/", "")
    assert response.headers["Referrer-Policy"] == "no-referrer"


def test_events_bring_what_changes_and_end_with_the_job():
    pictures = iter([status(), status(progress=0.5), status(phase=pb.SUCCEEDED, progress=1.0)])
    _, body = asked(lambda: next(pictures), "events")
    events = body.decode().strip().split("\n\n")
    heads = [json.loads(event.removeprefix("data: "))["head"] for event in events[:-1]]
    assert [part for part, head in zip(("25%", "50%", "100%"), heads, strict=True) if part in head] == [
        "25%", "50%", "100%",
    ]  # fmt: skip
    assert events[-1].startswith("event: over")


def test_a_closing_dashboard_sends_the_last_picture():
    async def run() -> bytes:
        current = status()
        dashboard = Dashboard(DASHBOARD, lambda: current)
        url = await dashboard.start()
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(f"GET {parts.path}events HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
        received = await reader.readuntil(b"25%")
        current = status(phase=pb.FAILED, failure=pb.Failure(message="out of luck"))
        await dashboard.close()
        received += await reader.read()
        writer.close()
        return received

    received = asyncio.run(run())
    assert b"out of luck" in received and received.endswith(b"event: over\ndata: {}\n\n")


@pytest.mark.parametrize(
    ("page", "method", "host", "answer"),
    [
        ("", "GET", "evil.example", 421),
        ("events", "GET", "evil.example", 421),
        ("other", "GET", "", 404),
        ("", "POST", "", 405),
    ],
)
def test_other_requests_are_turned_down(page, method, host, answer):
    response, body = asked(status, page, method, host)
    assert response.status == answer
    assert b"my-job" not in body


def test_the_secret_is_needed():
    async def run() -> list[int]:
        async with serving(status) as url:
            root = url.rpartition("/")[0].rpartition("/")[0]
            answers = [await asyncio.to_thread(ask, f"{root}/{path}") for path in ("", "x/", "%ff/", "events")]
            return [response.status for response, _ in answers]

    assert asyncio.run(run()) == [404, 404, 404, 404]


def test_strangers_keep_nobody_out_and_do_not_stay(monkeypatch):
    """However many connect and say nothing, a page is shown, and they are cut off after their few seconds."""
    monkeypatch.setattr(dashboard_module, "_REQUEST_SECONDS", 1.0)

    async def run() -> tuple[int, int]:
        async with serving(status) as url:
            parts = urlsplit(url)
            strangers = [await asyncio.open_connection(parts.hostname, parts.port) for _ in range(200)]
            strangers[-1][1].write(b"GET / HTTP/1.1\r\nX: ")
            response, _ = await asyncio.to_thread(ask, url)
            async with asyncio.timeout(4):
                ended = [await reader.read() for reader, _ in strangers]
            for _, writer in strangers:
                writer.close()
            return response.status, len(ended)

    assert asyncio.run(run()) == (200, 200)


def test_nonsense_does_not_end_it():
    async def run() -> int:
        async with serving(status) as url:
            parts = urlsplit(url)
            for nonsense in (b"\r\n\r\n", b"GET\r\n\r\n", b"\xff\xfe\r\n\r\n", b"x" * 100_000):
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
                writer.write(nonsense)
                await writer.drain()
                writer.write_eof()
                await reader.read()
                writer.close()
            response, _ = await asyncio.to_thread(ask, url)
            return response.status

    assert asyncio.run(run()) == 200


def test_the_renderer_is_found_by_its_name():
    assert load_renderer(DASHBOARD).page(status())[0].startswith(b"<!doctype html>")
