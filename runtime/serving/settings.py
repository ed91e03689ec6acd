"""What a server of predictions is told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """`trained_model` is a trained model, or a folder of them called 1, 2, …; clients call it `name`.

    A port of 0 is any free one. `token` is what clients must send, if it is not empty. `tls_cert` and `tls_key` are
    files (PEM). A batch has at most `max_batch` records; its first request waits `batch_ms` milliseconds for others.
    A request has at most `largest` bytes, and `timeout` seconds. Every `watch_seconds`, the server looks for a new
    version.
    """

    trained_model: str
    name: str = "model"
    host: str = "127.0.0.1"
    port: int = 8501
    grpc_port: int = 8500
    token: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    max_batch: int = 1024
    batch_ms: float = 0.0
    largest: int = 64 << 20
    timeout: float = 30.0
    watch_seconds: float = 1.0
