"""Runs a server of predictions until it is told to end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import ssl
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.serving.answers import Answers
from elasticdl_nb.runtime.serving.batching import Batcher
from elasticdl_nb.runtime.serving.checking import is_loopback
from elasticdl_nb.runtime.serving.http import Access, HttpServer
from elasticdl_nb.runtime.serving.metrics import Metrics
from elasticdl_nb.runtime.serving.model import ServedModel
from elasticdl_nb.runtime.serving.rpc import RpcServer
from elasticdl_nb.runtime.serving.settings import Settings
from elasticdl_nb.runtime.serving.versions import Versions

GRACE = 5.0
"""Seconds in which requests are finished when the server ends."""

SWITCH = 0.0005
"""Seconds after which a thread that loads a version lets one that answers a request run; 0.005 by default."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listening:
    """Where the server is: `url` for HTTP, `grpc` for gRPC."""

    url: str
    grpc: str


async def serve(settings: Settings, ready: Callable[[Listening], None], ended: asyncio.Event) -> None:
    """Serve until `ended`; `ready` is called when the model is loaded and both ports are open.

    Raises OptionError for a port that is not available or a folder without a model, and what loading the model raises.
    """
    tls, credentials = _tls(settings)
    metrics = Metrics()
    executor = ThreadPoolExecutor(1, thread_name_prefix="predicting")

    def batcher(model: ServedModel) -> Batcher:
        return Batcher(model, executor, settings.max_batch, settings.batch_ms / 1000, metrics.batch)

    versions = Versions(settings.trained_model, batcher, metrics)
    answers = Answers(settings.name, versions, settings.timeout)
    local = is_loopback(settings.host)
    http = HttpServer(answers, metrics, Access(settings.token, local), settings.largest)
    rpc = RpcServer(answers, metrics, settings.token, settings.largest)
    watching: asyncio.Task[None] | None = None
    try:
        await versions.begin()
        listening = await _listen(settings, http, rpc, tls, credentials)
        watching = asyncio.create_task(versions.watch(settings.watch_seconds))
        ready(listening)
        await ended.wait()
    finally:
        if watching is not None:
            watching.cancel()
        await asyncio.gather(http.close(GRACE), rpc.close(GRACE))
        versions.close()
        executor.shutdown(wait=False, cancel_futures=True)


async def _listen(
    settings: Settings, http: HttpServer, rpc: RpcServer, tls: ssl.SSLContext | None,
    credentials: grpc.ServerCredentials | None,
) -> Listening:  # fmt: skip
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        port = await http.start(settings.host, settings.port, tls)
    except OSError as error:
        raise OptionError("port", f"{host}:{settings.port} is not available: {error.strerror or error}") from None
    try:
        rpc_port = rpc.start_at(f"{host}:{settings.grpc_port}", credentials)
    except RuntimeError:
        raise OptionError("grpc_port", f"{host}:{settings.grpc_port} is not available") from None
    await rpc.start()
    return Listening(f"http{'s' if tls else ''}://{host}:{port}/v1/models/{settings.name}", f"{host}:{rpc_port}")


def _tls(settings: Settings) -> tuple[ssl.SSLContext | None, grpc.ServerCredentials | None]:
    if not settings.tls_cert:
        return None, None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password=_no_password)
        with open(settings.tls_key, "rb") as key, open(settings.tls_cert, "rb") as certificate:
            pair = key.read(), certificate.read()
    except (OSError, ValueError) as error:
        raise OptionError("tls_cert", f"{settings.tls_cert} and {settings.tls_key} cannot be used: {error}") from None
    return context, grpc.ssl_server_credentials([pair])


def _no_password() -> str:
    raise ValueError("the key is encrypted with a password; give one that is not")


def run(settings: Settings, ready: Callable[[Listening], None], lives_with: int | None = None) -> None:
    """Serve until SIGINT or SIGTERM, or until the pipe `lives_with` is closed by whoever holds its other end."""

    sys.setswitchinterval(SWITCH)
    gc.collect()
    gc.freeze()  # what was imported stays; without it, a collection holds requests up for a few milliseconds only

    async def main() -> None:
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)
        if lives_with is not None:
            loop.add_reader(lives_with, lambda: None if os.read(lives_with, 1024) else ended.set())
        serving = asyncio.ensure_future(serve(settings, ready, ended))
        ending = asyncio.ensure_future(ended.wait())
        await asyncio.wait([serving, ending], return_when=asyncio.FIRST_COMPLETED)
        if lives_with is not None:
            loop.remove_reader(lives_with)
        await serving

    asyncio.run(main())
