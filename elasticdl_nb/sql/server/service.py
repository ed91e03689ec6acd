"""What `proto.SQLFlow` does: runs programs of statements for authorized clients. `serving` puts it on a port."""

from __future__ import annotations

import hmac
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import quote

import grpc

from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.sql.protocol import sqlflow_pb2 as pb
from elasticdl_nb.sql.server.programs import Background, Listened
from elasticdl_nb.sql.session import Session

_PROGRAMS_KEPT = 64
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
        return Listened(open_session, request.sql)

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
        """End all programs in the background."""
        with self._lock:
            for kept in self._programs.values():
                kept.program.cancel("the server is stopping")


def as_url(text: str) -> str:
    """Return a client's `db_conn_str` as a URL that a session accepts."""
    match = _GO_URL.fullmatch(text)
    if match is None:
        return text
    user = quote(match["user"] or "", safe="")
    password = f":{quote(match['password'], safe='')}" if match["password"] is not None else ""
    who = f"{user}{password}@" if user or password else ""
    return f"{match['scheme']}://{who}{match['address']}/{match['database']}"
