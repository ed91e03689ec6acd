"""`elasticdl sqlflow-server`."""

from __future__ import annotations

import argparse
import ipaddress
import os
import secrets
from collections.abc import Callable, Sequence

import grpc

from elasticdl_nb.cli.arguments import Parser
from elasticdl_nb.cli.output import say, tell
from elasticdl_nb.cli.signals import Interrupted, interruptible
from elasticdl_nb.cli.sql import add_session_options
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.sql.server.service import SQLFlowService
from elasticdl_nb.sql.server.serving import Server
from elasticdl_nb.sql.session import Session

_TOKEN = "SQLFLOW_USER_TOKEN"  # noqa: S105  the name that SQLFlow's clients read


def run_server(arguments: Sequence[str]) -> int:
    """Run `elasticdl sqlflow-server …` until it is interrupted."""
    parsed = _parser().parse(arguments)
    given = os.environ.get(_TOKEN, "")
    token = "" if parsed.no_token else given or secrets.token_urlsafe(24)
    credentials = _credentials(parsed)
    with interruptible():
        server = _start(parsed, token, credentials)
        try:
            address = f"{parsed.host}:{server.port}"
            say(f"SQLFlow server at {address}. Clients need:\n  export SQLFLOW_SERVER={address}")
            if token and not given:
                say(f"  export {_TOKEN}={token}")
            server.wait()
        except Interrupted:
            tell("The server has stopped.")
        finally:
            server.stop()
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="elasticdl sqlflow-server",
        description="Serve SQLFlow's gRPC service to its clients. They name their database in SQLFLOW_DATASOURCE, or "
        f"use the server's. Their {_TOKEN} must match the server's; if the server has none, it generates one.",
    )
    add = parser.add_argument
    add("--host", metavar="ADDRESS", default="127.0.0.1", help="Where to listen (default: 127.0.0.1).")
    add("--port", metavar="N", type=int, default=50051, help="0 for any free port (default: 50051).")
    add_session_options(parser)
    add("--background", action="store_true", help="Answer with a job at once, whose output clients fetch.")
    add("--no_token", action="store_true", help="Accept every process on this machine.")
    add("--tls_cert", metavar="FILE", default="", help="Certificate chain (PEM); required beyond this machine.")
    add("--tls_key", metavar="FILE", default="", help="Its private key (PEM).")
    return parser


def _credentials(parsed: argparse.Namespace) -> grpc.ServerCredentials | None:
    if bool(parsed.tls_cert) != bool(parsed.tls_key):
        raise OptionError("tls_key", "tls_cert and tls_key must be given together")
    if not parsed.tls_cert:
        if not _is_loopback(parsed.host):
            raise OptionError(
                "host", f"{parsed.host} is visible to other machines: --tls_cert and --tls_key are required, so that "
                "nobody in between can read tokens and rows"
            )  # fmt: skip
        return None
    if parsed.no_token and not _is_loopback(parsed.host):
        raise OptionError("no_token", f"{parsed.host} is visible to other machines, so a token is required")
    return grpc.ssl_server_credentials([(_read("tls_key", parsed.tls_key), _read("tls_cert", parsed.tls_cert))])


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read(option: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise OptionError(option, f"{path} cannot be read: {error}") from None


def _start(parsed: argparse.Namespace, token: str, credentials: grpc.ServerCredentials | None) -> Server:
    service = SQLFlowService(session_opener(parsed.connect, parsed.store), token, in_background=parsed.background)
    try:
        server = Server(service, parsed.host, parsed.port, credentials)
    except RuntimeError:
        raise OptionError(
            "port", f"{parsed.host}:{parsed.port} is not available; perhaps a server is running"
        ) from None
    server.start()
    return server


def session_opener(connect: str, store: str) -> Callable[[str], Session]:
    """Return a function that opens a session on a caller's database, or on the server's own by default.

    All callers share a database in memory. Raises OptionError if the server's own database cannot be used.
    """
    if connect in ("", ":memory:", "duckdb://"):
        import duckdb

        shared = duckdb.connect(":memory:")
        return lambda url: Session(url or shared.cursor(), store or None)
    Session(connect, store or None).close()
    return lambda url: Session(url or connect, store or None)
