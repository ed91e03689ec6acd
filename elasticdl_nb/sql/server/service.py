"""The service: `proto.SQLFlow` over gRPC."""

from __future__ import annotations

import hmac
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn
from urllib.parse import quote

import grpc

from elasticdl_nb.runtime.errors import ElasticDLError, JobError
from elasticdl_nb.sql.protocol import sqlflow_pb2 as pb
from elasticdl_nb.sql.protocol import sqlflow_pb2_grpc
from elasticdl_nb.sql.server.programs import Background, Listened
from elasticdl_nb.sql.session import Session

_CALLS_AT_ONCE = 32
_PROGRAMS_KEPT = 64
# The form of Go's MySQL driver: mysql://user:password@tcp(host:port)/database?options
_GO_URL = re.compile(
    r"(?P<scheme>mysql)://(?:(?P<user>[^:@]*)(?::(?P<password>.*))?@)?tcp\((?P<address>[^)]+)\)/(?P<database>[^?]*)(?:\?.*)?"
)

OpenSession = Callable[[str], Session]


class SQLFlowService(sqlflow_pb2_grpc.SQLFlowServicer):
    """Runs programs for clients that know the token.

    `open_session` gets the client's database URL, or an empty one for the server's own database, and returns a session
    for one program. With `in_background`, Run returns a job at once, and Fetch returns the program's responses.
    """

    def __init__(self, open_session: OpenSession, token: str, *, in_background: bool = False) -> None:
        self._open = open_session
        self._token = token.encode()
        self._in_background = in_background
        self._programs: OrderedDict[str, Background] = OrderedDict()
        self._lock = threading.Lock()

    def Run(  # noqa: N802
        self, request: pb.Request, context: grpc.ServicerContext
    ) -> Iterator[pb.Response]:
        """Run the statements of the request, and yield their responses."""
        if self._token and not hmac.compare_digest(request.session.token.encode(), self._token):
            context.abort(
                grpc.StatusCode.UNAUTHENTICATED,
                "the session's token does not match the server's; set SQLFLOW_USER_TOKEN",
            )
        database = as_url(request.session.db_conn_str)
        open_session = lambda: self._open(database)  # noqa: E731
        if self._in_background:
            yield pb.Response(job=pb.Job(id=self._keep(Background(open_session, request.sql))))
            return
        listened = Listened(open_session, request.sql)
        context.add_callback(listened.leave)
        try:
            yield from listened.responses()
        except Exception as error:
            _abort(context, error)

    def _keep(self, program: Background) -> str:
        # Whoever knows the name may read, as Fetch has no token.
        name = f"sqlflow-{secrets.token_hex(16)}"
        with self._lock:
            self._programs[name] = program
            ended = [one for one, kept in self._programs.items() if kept.program.ended.is_set()]
            for one in ended[: max(0, len(self._programs) - _PROGRAMS_KEPT)]:
                del self._programs[one]
        return name

    def Fetch(  # noqa: N802
        self, request: pb.FetchRequest, context: grpc.ServicerContext
    ) -> pb.FetchResponse:
        """Return the program's responses since the request that `step_id` comes from."""
        with self._lock:
            kept = self._programs.get(request.job.id)
        if kept is None or not (request.step_id or "0").isdecimal():
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no job {request.job.id!r}, or it ended long ago")
        assert kept is not None
        seen = int(request.step_id or 0)
        try:
            fresh, over = kept.since(seen)
        except Exception as error:
            _abort(context, error)
        following = pb.FetchRequest(job=request.job, step_id=str(seen + len(fresh)))
        return pb.FetchResponse(
            updated_fetch_since=following, eof=over, responses=pb.FetchResponse.Responses(response=fresh)
        )

    def close(self) -> None:
        """End all programs in the background."""
        with self._lock:
            for kept in self._programs.values():
                kept.program.cancel("the server is stopping")


def as_url(text: str) -> str:
    """Return a client's `db_conn_str` as the URL that a session takes."""
    match = _GO_URL.fullmatch(text)
    if match is None:
        return text
    user = quote(match["user"] or "", safe="")
    password = f":{quote(match['password'], safe='')}" if match["password"] is not None else ""
    who = f"{user}{password}@" if user or password else ""
    return f"{match['scheme']}://{who}{match['address']}/{match['database']}"


def _abort(context: grpc.ServicerContext, error: Exception) -> NoReturn:
    code = grpc.StatusCode.INTERNAL
    if isinstance(error, JobError):
        code = grpc.StatusCode.ABORTED
    elif isinstance(error, ElasticDLError):
        code = grpc.StatusCode.INVALID_ARGUMENT
    text = str(error) if isinstance(error, ElasticDLError) else f"{type(error).__name__}: {error}"
    context.abort(code, text)
    raise AssertionError("abort raises")


class Server:
    """The service on a port. If port 0 was asked for, `port` is the actual one."""

    def __init__(
        self,
        service: SQLFlowService,
        address: str,
        port: int,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self._service = service
        self._server = grpc.server(
            ThreadPoolExecutor(_CALLS_AT_ONCE, thread_name_prefix="sqlflow"),
            options=[("grpc.so_reuseport", 0)],
        )
        sqlflow_pb2_grpc.add_SQLFlowServicer_to_server(service, self._server)  # type: ignore[no-untyped-call]
        where = f"{address}:{port}" if ":" not in address else f"[{address}]:{port}"
        if credentials is None:
            self.port = int(self._server.add_insecure_port(where))
        else:
            self.port = int(self._server.add_secure_port(where, credentials))

    def start(self) -> None:
        """Start answering calls."""
        self._server.start()

    def wait(self) -> None:
        """Wait until the server has been stopped."""
        self._server.wait_for_termination()

    def stop(self, grace: float = 2.0) -> None:
        """End every call and all programs in the background, and stop."""
        self._service.close()
        self._server.stop(grace).wait()
