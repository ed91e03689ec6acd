"""`proto.SQLFlow` on a port.

Its clients send the token in the request itself, so the server has to read requests from strangers, too. That is why a
request must be small and arrive soon, and why no thread waits for it: the server's threads are for clients whose token
was right.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import grpc

from elasticdl_nb.runtime.errors import ElasticDLError, JobError
from elasticdl_nb.runtime.protocol.channels import STRANGERS_SECONDS, server_options
from elasticdl_nb.sql.protocol import sqlflow_pb2 as pb
from elasticdl_nb.sql.server.programs import Listened
from elasticdl_nb.sql.server.service import Refused, SQLFlowService

LARGEST_REQUEST = 64 << 10
"""The largest request in bytes, statements included."""

_PROGRAMS_AT_ONCE = 32

Context = grpc.aio.ServicerContext[Any, Any]


class Server:
    """The service on a port; `port` is the actual port, even if 0 was requested."""

    def __init__(
        self, service: SQLFlowService, address: str, port: int, credentials: grpc.ServerCredentials | None = None
    ) -> None:
        self._service = service
        self._pool = ThreadPoolExecutor(_PROGRAMS_AT_ONCE, thread_name_prefix="sqlflow")
        self._stopped = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sqlflow-server", daemon=True)
        self._thread.start()
        where = f"{address}:{port}" if ":" not in address else f"[{address}]:{port}"
        try:
            self._server, self.port = self._wait_for(self._open(where, credentials))
        except RuntimeError:
            self._end_loop()
            raise

    def start(self) -> None:
        """Start answering calls."""
        self._wait_for(self._server.start())

    def wait(self) -> None:
        """Wait until the server has been stopped."""
        self._stopped.wait()

    def stop(self, grace: float = 2.0) -> None:
        """End all calls and background programs, and stop."""
        self._service.close()
        self._wait_for(self._server.stop(grace))
        self._pool.shutdown()
        self._end_loop()
        self._stopped.set()

    def _wait_for(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # ------------------------------------------------------------ on the loop

    async def _open(self, where: str, credentials: grpc.ServerCredentials | None) -> tuple[Any, int]:
        server = grpc.aio.server(options=server_options(LARGEST_REQUEST))
        # On the wire, a stream of one request is the same as one request; only the reading is done here.
        handlers = {
            "Run": grpc.stream_stream_rpc_method_handler(self._run, pb.Request.FromString, _serialized),
            "Fetch": grpc.stream_unary_rpc_method_handler(
                self._fetch, pb.FetchRequest.FromString, pb.FetchResponse.SerializeToString
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("proto.SQLFlow", handlers),))
        if credentials is None:
            return server, int(server.add_insecure_port(where))
        return server, int(server.add_secure_port(where, credentials))

    async def _run(self, _requests: object, context: Context) -> AsyncIterator[pb.Response | bytes]:
        try:
            started = self._service.run(await _request(context))
            if isinstance(started, pb.Response):
                yield started
                return
            # In its own thread, as it may have to contact a job's master.
            leave = threading.Thread(target=started.leave, name="sqlflow-leave", daemon=True)
            context.add_done_callback(lambda _: leave.start())  # type: ignore[arg-type]
            async for response in self._responses(started):
                yield response
        except Exception as error:
            await _abort(context, error)

    async def _responses(self, program: Listened) -> AsyncIterator[bytes]:
        while (found := await self._loop.run_in_executor(self._pool, program.some)) is not None:
            for response in found:
                yield response

    async def _fetch(self, _requests: object, context: Context) -> pb.FetchResponse:
        try:
            return self._service.fetch(await _request(context))
        except Exception as error:
            await _abort(context, error)


def _serialized(response: pb.Response | bytes) -> bytes:
    return response if isinstance(response, bytes) else response.SerializeToString()


async def _request(context: Context) -> Any:
    """Return the call's one request; raise Refused if it does not come."""
    try:
        async with asyncio.timeout(STRANGERS_SECONDS):
            request = await context.read()
    except TimeoutError:
        text = f"no request came within {STRANGERS_SECONDS:g} seconds"
        raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, text) from None
    if request is grpc.aio.EOF:  # type: ignore[attr-defined]
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "the call ended without a request")
    return request


async def _abort(context: Context, error: Exception) -> NoReturn:
    code = grpc.StatusCode.INTERNAL
    if isinstance(error, Refused):
        code = error.code
    elif isinstance(error, JobError):
        code = grpc.StatusCode.ABORTED
    elif isinstance(error, ElasticDLError):
        code = grpc.StatusCode.INVALID_ARGUMENT
    text = str(error) if isinstance(error, ElasticDLError) else f"{type(error).__name__}: {error}"
    await context.abort(code, text)
    raise AssertionError("abort raises")
