"""What `proto.SQLFlow` does: runs programs of statements for authorized clients. `serving` puts it on a port."""

from __future__ import annotations

import hmac
import re
import secrets
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import quote

import grpc

from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.sql.protocol import sqlflow_pb2 as pb
from elasticdl_nb.sql.server.programs import Background, Listened
from elasticdl_nb.sql.session import Session

_PROGRAMS_KEPT = 64
_PATIENCE_SECONDS = 3.0
# The format of Go's MySQL driver: mysql://user:password@tcp(host:port)/database?options
_GO_URL = re.compile(
    r"(?P<scheme>mysql)://(?:(?P<user>[^:@]*)(?::(?P<password>.*))?@)?tcp\((?P<address>[^)]+)\)/?(?P<database>[^?]*)(?:\?.*)?"
)

OpenSession = Callable[[str], Session]


class Refused(ElasticDLError):
    """A call that is answered with this gRPC status and nothing else."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class SQLFlowService:
    """Runs programs for clients that know the token.

    `open_session` gets the client's database URL, or an empty one for the server's own database, and returns a session
    for one program. With `in_background`, Run returns a job at once, and Fetch returns the program's responses.
    """

    def __init__(self, open_session: OpenSession, token: str, *, in_background: bool = False) -> None:
        self._open = open_session
        self._token = token.encode()
        self._in_background = in_background
        self._programs: OrderedDict[str, Background] = OrderedDict()
        self._listened: weakref.WeakSet[Listened] = weakref.WeakSet()
        self._lock = threading.Lock()

    def run(self, request: pb.Request) -> Listened | pb.Response:
        """Run the statements of the request; return a reader of their responses, or a response that names their job."""
        if self._token and not hmac.compare_digest(request.session.token.encode(), self._token):
            text = "the session's token does not match the server's; set SQLFLOW_USER_TOKEN"
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, text)
        database = as_url(request.session.db_conn_str)
        open_session = lambda: self._open(database)  # noqa: E731
        if self._in_background:
            return pb.Response(job=pb.Job(id=self._keep(Background(open_session, request.sql))))
        listened = Listened(open_session, request.sql)
        with self._lock:
            self._listened.add(listened)
        return listened

    def _keep(self, program: Background) -> str:
        # Anyone who knows the name may read, as Fetch has no token.
        name = f"sqlflow-{secrets.token_hex(16)}"
        with self._lock:
            self._programs[name] = program
            ended = [one for one, kept in self._programs.items() if kept.program.ended.is_set()]
            for one in ended[: max(0, len(self._programs) - _PROGRAMS_KEPT)]:
                del self._programs[one]
        return name

    def fetch(self, request: pb.FetchRequest) -> pb.FetchResponse:
        """Return a program's responses since the request that `step_id` comes from."""
        with self._lock:
            kept = self._programs.get(request.job.id)
        if kept is None or not (request.step_id or "0").isdecimal():
            raise Refused(grpc.StatusCode.NOT_FOUND, f"there is no job {request.job.id!r}, or it ended long ago")
        seen = int(request.step_id or 0)
        fresh, over = kept.since(seen)
        following = pb.FetchRequest(job=request.job, step_id=str(seen + len(fresh)))
        return pb.FetchResponse(
            updated_fetch_since=following, eof=over, responses=pb.FetchResponse.Responses(response=fresh)
        )

    def close(self) -> None:
        """End all programs and their queries; wait a moment until they have ended."""
        with self._lock:
            programs = [one.program for one in self._programs.values()] + [one.program for one in self._listened]
        running = [program for program in programs if not program.ended.is_set()]
        reason = "the server is stopping"
        # Each in its own thread, as it may have to contact a job's master.
        for program in running:
            threading.Thread(target=program.cancel, args=(reason,), name="sqlflow-cancel", daemon=True).start()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for program in running:
            program.ended.wait(max(0.0, deadline - time.monotonic()))


def as_url(text: str) -> str:
    """Return a client's `db_conn_str` as a URL that a session accepts."""
    match = _GO_URL.fullmatch(text)
    if match is None:
        return text
    user = quote(match["user"] or "", safe="")
    password = f":{quote(match['password'], safe='')}" if match["password"] is not None else ""
    who = f"{user}{password}@" if user or password else ""
    return f"{match['scheme']}://{who}{match['address']}/{match['database']}"
