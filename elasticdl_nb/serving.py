"""`serve`: predictions over HTTP and gRPC, from a process that ends with this one."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict
from typing import Any

from elasticdl_nb.job import Job
from elasticdl_nb.runtime.errors import ElasticDLError, ModelError, OptionError
from elasticdl_nb.runtime.serving.checking import checked
from elasticdl_nb.runtime.serving.settings import Settings

_STOP_SECONDS = 15.0


class Server:
    """A server of predictions. It ends with `stop()`, with a `with` block, and with this process.

    `url` is the model's address for HTTP, such as http://127.0.0.1:8501/v1/models/model; add `:predict`. `grpc` is the
    address for TensorFlow Serving's gRPC client.
    """

    def __init__(self, process: subprocess.Popen[bytes], url: str, grpc: str, log: str) -> None:
        self._process, self.url, self.grpc, self.log = process, url, grpc, log

    @property
    def is_running(self) -> bool:
        """Whether it still serves."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Finish the requests that are being answered, and end. Does nothing if it has ended."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Server at {self.url}{'' if self.is_running else ', ended'}>"


def serve(
    trained_model: Any, *, name: str = "model", host: str = "127.0.0.1", port: int = 0, grpc_port: int = 0,
    token: str = "", tls_cert: str = "", tls_key: str = "", max_batch: int = 1024, batch_ms: float = 0.0,
    timeout: float = 30.0, max_request_mb: int = 64,
) -> Server:  # fmt: skip
    """Serve a trained model's predictions with the interfaces of TensorFlow Serving, and return the server.

    trained_model: the output directory of a training job, a folder of these called 1, 2, …, or the `Job` itself, which
        is waited for. If another one takes its place, that is served from then on.
    name: what clients call the model.
    host, port, grpc_port: where to listen; 0 for any free port. Beyond this machine, a token and TLS are required.
    token: what clients must send, as `Authorization: Bearer TOKEN`.
    tls_cert, tls_key: certificate chain and private key (PEM files).
    max_batch, batch_ms: how many records are computed at once, and how many milliseconds the first waits for others.
    timeout, max_request_mb: how long a request may take, in seconds, and how large it may be.

    Returns once the model is loaded. Raises OptionError, ModelError or DataError if it cannot be served.
    """
    path = trained_model.trained_model() if isinstance(trained_model, Job) else os.fspath(trained_model)
    settings = checked(Settings(
        os.path.abspath(path), name, host, port, grpc_port, token, tls_cert, tls_key, max_batch, batch_ms,
        max_request_mb << 20, timeout,
    ))  # fmt: skip
    descriptor, log = tempfile.mkstemp(prefix="elasticdl-serve-", suffix=".log")
    with open(descriptor, "wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "elasticdl_nb.runtime.serving"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=errors, start_new_session=True,
        )  # fmt: skip
    try:
        said = _answer(process, settings)
    except BaseException:
        process.kill()
        process.wait()
        raise
    if "error" in said:
        process.wait()
        raise _error(said)
    if "url" not in said:
        process.kill()
        process.wait()
        raise ElasticDLError(f"the server has ended before it was ready: {_end_of(log)}")
    return Server(process, said["url"], said["grpc"], log)


def _answer(process: subprocess.Popen[bytes], settings: Settings) -> dict[str, str]:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(asdict(settings)).encode() + b"\n")
        process.stdin.flush()
    line = process.stdout.readline()
    threading.Thread(target=process.stdout.close, daemon=True).start()
    said: dict[str, str] = json.loads(line) if line.strip() else {}
    return said


def _error(said: dict[str, str]) -> ElasticDLError:
    if said["option"]:
        return OptionError(said["option"], said["error"].removeprefix(f"{said['option']}: "))
    return ModelError(said["error"])


def _end_of(log: str) -> str:
    with open(log, errors="replace") as file:
        return file.read()[-2000:].strip() or "it says nothing"
