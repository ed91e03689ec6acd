"""`elasticdl serve`."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from elasticdl_nb.cli.arguments import Parser
from elasticdl_nb.cli.output import say, tell
from elasticdl_nb.runtime.serving.checking import checked, is_loopback
from elasticdl_nb.runtime.serving.settings import Settings

if TYPE_CHECKING:
    from elasticdl_nb.runtime.serving.process import Listening

TOKEN = "ELASTICDL_SERVING_TOKEN"  # noqa: S105  where it is read from, rather than from the command line, which others see


def run_serve(arguments: Sequence[str]) -> int:
    """Run `elasticdl serve …` until it is interrupted."""
    parsed = _parser().parse(arguments)
    token, made = os.environ.get(TOKEN, ""), False
    if not token and not is_loopback(parsed.host):
        token, made = secrets.token_urlsafe(24), True
    settings = checked(Settings(
        os.path.abspath(parsed.trained_model), parsed.name, parsed.host, parsed.port, parsed.grpc_port, token,
        parsed.tls_cert, parsed.tls_key, parsed.max_batch, parsed.batch_ms, parsed.max_request_mb << 20, parsed.timeout,
    ))  # fmt: skip
    from elasticdl_nb.runtime.serving.process import run

    def ready(listening: Listening) -> None:
        say(f"Serving {settings.trained_model}\n  HTTP  {listening.url}\n  gRPC  {listening.grpc}")
        if made:
            say(f"  token {token}")

    run(settings, ready)
    tell("The server has stopped.")
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="elasticdl serve",
        description="Serve a trained model's predictions with the interfaces of TensorFlow Serving. If another trained "
        f"model takes its place, that is served from then on. Clients must send the token in {TOKEN}, if it is set.",
    )
    add, of = parser.add_argument, Settings("")
    add(
        "trained_model",
        metavar="TRAINED_MODEL",
        help="A training job's output, or a folder of these called 1, 2, …",
    )
    add("--name", metavar="NAME", default=of.name, help="What clients call the model (default: model).")
    add("--host", metavar="ADDRESS", default=of.host, help="Where to listen (default: 127.0.0.1).")
    add("--port", metavar="N", type=int, default=of.port, help="For HTTP; 0 for any free port (default: 8501).")
    add("--grpc_port", metavar="N", type=int, default=of.grpc_port, help="For gRPC (default: 8500).")
    add("--tls_cert", metavar="FILE", default="", help="Certificate chain (PEM); required beyond this machine.")
    add("--tls_key", metavar="FILE", default="", help="Its private key (PEM).")
    add("--max_batch", metavar="N", type=int, default=of.max_batch, help="Records computed at once (default: 1024).")
    add(
        "--batch_ms",
        metavar="MS",
        type=float,
        default=of.batch_ms,
        help="How long a batch waits (default: 0).",
    )
    add("--timeout", metavar="SECONDS", type=float, default=of.timeout, help="For each request (default: 30).")
    add("--max_request_mb", metavar="N", type=int, default=of.largest >> 20, help="The largest request (default: 64).")
    return parser
