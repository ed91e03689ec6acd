"""Attacks on a server of predictions, with its token and without it: each has an answer, and the server lives on.

    python benchmarks/fuzz_serving.py [--requests 20000] [--seed 0]

Two servers of a small model run in processes of their own, both with a token, one of them with TLS. Strangers stay
silent, send a byte at a time, floods of headers, endless bodies and calls that never end. Clients with the token send
requests that are damaged, too large, compressed a thousandfold or cut short. Both protocols get everything. A line for
each attack says what it came to; the exit code is 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import random
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil

import elasticdl_nb
from elasticdl_nb.runtime.protocol import certificates
from elasticdl_nb.runtime.protocol import serving_pb2 as pb
from elasticdl_nb.serving import Server

TOKEN = "the-token-of-the-attacked-server"
NAME = "attacked.internal"
LARGEST_MB = 1
HELD = 64 << 10
"""Bytes that a connection may make the server hold before it has shown the token."""

MOST_STRANGERS = 128
STAY = 5.0
"""Seconds that such a connection may stay."""


MODEL = """
import keras

def custom_model():
    given = {"ids": keras.Input((3,), dtype="int64", name="ids"), "word": keras.Input((), dtype="string", name="word")}
    total = keras.ops.sum(keras.ops.cast(given["ids"], "float32"), axis=1, keepdims=True)
    return keras.Model(given, {"score": keras.layers.Dense(1, kernel_initializer="ones")(total)})

def loss(labels, outputs):
    return outputs

def input_fn(record):
    return record
"""
GOOD = {"ids": [1, 2, 3], "word": "a"}
BODY = json.dumps({"instances": [GOOD]}).encode()


def write_model(folder: Path) -> Path:
    """Write the model's files, without a job."""
    from elasticdl_nb.runtime.model.contract import ModelDefinition
    from elasticdl_nb.runtime.model.loading.loader import load
    from elasticdl_nb.runtime.model.saving.trained import write_trained_model
    from elasticdl_nb.runtime.spec import JobSpec

    (folder / "zoo").mkdir()
    (folder / "zoo" / "attacked.py").write_text(MODEL)
    zoo = os.fspath(folder / "zoo")
    spec = JobSpec.create("train", model_def="attacked", data="x", output="y", input_fn="attacked.input_fn")
    loaded = load(ModelDefinition.from_spec(spec, zoo))
    write_trained_model(
        folder / "model", spec=spec, loaded=loaded, zoo=zoo, metrics={}, step=1, job_name="j", saved_model=False
    )
    return folder / "model"


class Target:
    """A server under attack, and what its callers know.

    It may grow by `spare` bytes beside what it may hold, for buffers that libraries keep for reuse, and strangers may
    stay for `patience` seconds, with some time for what else the machine does.
    """

    def __init__(self, server: Server, authority: bytes, spare: int, patience: float) -> None:
        self.spare, self.patience = spare, patience
        self.process = psutil.Process(server._process.pid)
        self.http = ("127.0.0.1", int(server.url.split("/")[2].rpartition(":")[2]))
        self.grpc = ("127.0.0.1", int(server.grpc.rpartition(":")[2]))
        self._authority, self.tls = authority, bool(authority)

    def connect(self, place: tuple[str, int], timeout: float = 30.0) -> socket.socket:
        """Return a connection to one of the two ports, as any stranger can make one."""
        plain = socket.create_connection(place, timeout=timeout)
        if not self._authority:
            return plain
        context = ssl.create_default_context(cadata=self._authority.decode())
        if place == self.grpc:
            context.set_alpn_protocols(["h2"])
        try:
            return context.wrap_socket(plain, server_hostname=NAME)
        except OSError:
            plain.close()
            raise

    def channel(self) -> grpc.Channel:
        """Return a channel to the gRPC port."""
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        options += [("grpc.max_send_message_length", -1)]
        place = f"{self.grpc[0]}:{self.grpc[1]}"
        if not self._authority:
            return grpc.insecure_channel(place, options)
        credentials = grpc.ssl_channel_credentials(self._authority)
        return grpc.secure_channel(place, credentials, [*options, ("grpc.ssl_target_name_override", NAME)])

    def ask(self, message: bytes) -> tuple[int, bytes]:
        """Send bytes to the HTTP port, and nothing more; return status and body of the answer, or (0, …)."""
        with self.connect(self.http) as connection:
            with contextlib.suppress(OSError):  # it may have been refused already
                connection.sendall(message)
            answer = _rest(connection)
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]) if head.startswith(b"HTTP/1.1 ") else 0, body

    def call(self, request: bytes, token: str = TOKEN, method: str = "Predict", **options: Any) -> str:
        """Make a call to the gRPC port, and return the name of its status."""
        with self.channel() as channel:
            send = channel.unary_unary(f"/tensorflow.serving.PredictionService/{method}")
            try:
                send(request, timeout=30, metadata=(("authorization", f"Bearer {token}"),), **options)
            except grpc.RpcError as error:
                return str(error.code().name)
        return "OK"

    def lives(self) -> list[str]:
        """What is wrong with the answers to good requests."""
        status, body = self.ask(message(BODY))
        wrong = [] if status == 200 and b"predictions" in body else [f"HTTP answers {status} {body[:100]!r}"]
        code = self.call(predict_request())
        return wrong + ([] if code == "OK" else [f"gRPC answers {code}"])


def _rest(connection: socket.socket) -> bytes:
    parts = []
    with contextlib.suppress(OSError):
        while content := connection.recv(65536):
            parts.append(content)
    return b"".join(parts)


def message(body: bytes, *more: bytes, path: bytes = b"/v1/models/model:predict", method: bytes = b"POST") -> bytes:
    """Return an HTTP request that carries the token, and asks for the connection to be closed."""
    head = [
        method + b" " + path + b" HTTP/1.1", b"Host: localhost", b"Authorization: Bearer " + TOKEN.encode(),
        b"Connection: close", *more,
    ]  # fmt: skip
    if not any(one.lower().startswith((b"content-length", b"transfer-encoding")) for one in more):
        head.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*head, b"", body])


def predict_request(**values: Any) -> bytes:
    """Return a request for the gRPC port, with other inputs than the good ones where they are given."""
    from elasticdl_nb.runtime.serving import tensors

    arrays = {"ids": np.array([[1, 2, 3]]), "word": np.array([b"a"], object)} | values
    tensor = {name: value for name, value in arrays.items() if isinstance(value, bytes)}
    tensor |= tensors.messages({name: value for name, value in arrays.items() if isinstance(value, np.ndarray)})
    return pb.PredictRequest(model_spec=pb.ModelSpec(name="model"), inputs=tensor).SerializeToString()


# ------------------------------------------------------------ strangers

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


def _call_head(stream: int = 1, *, flags: int = 4) -> bytes:
    """Return the head of a gRPC call without a token, as HTTP/2 sends it; flags 4 say that it is complete."""
    path = b"/tensorflow.serving.PredictionService/Predict"
    head = b"\x83\x86\x44" + bytes([len(path)]) + path + b"\x41\x09localhost"
    head += b"\x40\x0ccontent-type\x10application/grpc"
    return len(head).to_bytes(3, "big") + b"\1" + bytes([flags]) + stream.to_bytes(4, "big") + head


def _silent(target: Target, place: tuple[str, int], said: bytes, again: bytes = b"", every: float = 0.4) -> float:
    """Say something, and then nothing, or `again` every now and then; return the seconds until we are cut off."""
    begun = time.monotonic()
    with contextlib.suppress(OSError), target.connect(place, timeout=target.patience) as connection:
        connection.sendall(said)
        connection.settimeout(every if again else target.patience)
        while time.monotonic() < begun + target.patience:
            try:
                if not connection.recv(65536):
                    break
            except TimeoutError:
                if again:
                    connection.sendall(again)
    return time.monotonic() - begun


def _without_handshake(target: Target, place: tuple[str, int]) -> float:
    begun = time.monotonic()
    with contextlib.suppress(OSError), socket.create_connection(place, timeout=target.patience) as connection:
        while connection.recv(65536):
            pass
    return time.monotonic() - begun


STRANGERS: dict[str, tuple[str, bytes, bytes]] = {
    "silent": ("http", b"", b""),
    "half a head": ("http", b"POST /v1/models/model:predict HTTP/1.1\r\nHost: loc", b""),
    "a byte at a time": ("http", b"POST /v1/models/model:predict HTTP/1.1\r\n", b"a"),
    "a header at a time": ("http", b"POST /v1/models/model:predict HTTP/1.1\r\n", b"a: b\r\n"),
    "no token, slow body": ("http", b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\n", b"a"),
    "silent gRPC": ("grpc", b"", b""),
    "half a preface": ("grpc", PREFACE[:10], b""),
    "a preface": ("grpc", PREFACE, b""),
    "pings": ("grpc", PREFACE, b"\0\0\x08\6\0\0\0\0\0" + b"p" * 8),
    "half a call's head": ("grpc", PREFACE + _call_head(flags=0), b""),
    "endless parts of a head": ("grpc", PREFACE + _call_head(flags=0), b"\0\0\4\x09\0\0\0\0\1\x40\1a\0"),
    "a call without its message": ("grpc", PREFACE + _call_head(), b""),
    "a message byte by byte": ("grpc", PREFACE + _call_head(), b"\0\0\1\0\0\0\0\0\1a"),
}


def cut_off(target: Target) -> list[str]:
    """Every stranger who stays is cut off in time; all are tried at once."""
    took: dict[str, float] = {}
    places = {"http": target.http, "grpc": target.grpc}

    def one(name: str, action: Callable[[], float]) -> None:
        took[name] = action()

    actions = {
        name: (lambda port=port, said=said, again=again: _silent(target, places[port], said, again))
        for name, (port, said, again) in STRANGERS.items()
    }  # fmt: skip
    for port in places:
        actions[f"no handshake, {port}"] = lambda port=port: _without_handshake(target, places[port])
    threads = [threading.Thread(target=one, args=item) for item in actions.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [f"{name}: {seconds:.1f} s" for name, seconds in took.items() if seconds >= target.patience]


class Watched:
    """Samples the memory of a server while it is attacked."""

    def __init__(self, target: Target) -> None:
        self._process, self._stop = target.process, threading.Event()
        self.before = self.peak = self._memory()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _memory(self) -> int:
        return int(self._process.memory_info().rss)

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            with contextlib.suppress(psutil.Error):
                self.peak = max(self.peak, self._memory())

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def grown(self) -> int:
        """Bytes by which it grew at most."""
        return self.peak - self.before


def held(target: Target) -> list[str]:
    """Strangers who send as much as the port takes make it hold little; meanwhile others are answered."""
    wrong = []
    floods = {
        "http": (target.http, b"POST /v1/models/model:predict HTTP/1.1\r\nHost: localhost\r\nX: ", b"a" * (1 << 20)),
        "body": (
            target.http, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n", b"a" * (1 << 20)
        ),
        "grpc": (
            target.grpc,
            PREFACE + b"".join(_call_head(2 * number + 1) for number in range(32)),
            b"".join(
                b"\0\x40\0\0\0" + (2 * number + 1).to_bytes(4, "big") + b"\0\0\x10\0\0" + bytes((1 << 14) - 5)
                for number in range(32)
            ),
        ),
        "heads": (
            target.grpc, PREFACE + _call_head(flags=0),
            b"\0\x40\0\x09\0\0\0\0\1\x40\1a\x7f" + b"a" * 16380,
        ),
    }  # fmt: skip
    for name, (place, said, more) in floods.items():
        with Watched(target) as watched, contextlib.ExitStack() as stack:
            connections = []
            for _ in range(MOST_STRANGERS):
                with contextlib.suppress(OSError):
                    connections.append(stack.enter_context(target.connect(place)))
            for connection in connections:
                connection.settimeout(0.02)
                with contextlib.suppress(OSError):
                    connection.sendall(said)
                    for _ in range(4):
                        connection.sendall(more)
            wrong += [f"during the flood of {name}, {one}" for one in target.lives()]
        if watched.grown > MOST_STRANGERS * HELD + target.spare:
            wrong.append(f"{name}: the server grew by {watched.grown >> 20} MiB")
    return wrong


# ------------------------------------------------------------ clients with the token


def bad_requests() -> Iterator[tuple[str, bytes, set[int]]]:
    """Yield requests to the HTTP port, and the statuses that may answer them."""
    deep = b'{"instances": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    yield "a head without end", message(BODY, b"X: " + b"a" * 40_000), {431}
    yield "many headers", message(BODY, *(b"X%d: a" % number for number in range(3000))), {431}
    yield "a header without a colon", message(BODY, b"nonsense"), {400}
    yield "two lengths", message(BODY, b"Content-Length: 3", b"Content-Length: 4"), {400}
    yield "a length and chunks", message(BODY, b"Content-Length: 3", b"Transfer-Encoding: chunked"), {400}
    yield "a negative length", message(BODY, b"Content-Length: -1"), {400}
    yield "no number as length", message(BODY, b"Content-Length: 0x10"), {400}
    yield "an enormous length", message(BODY, b"Content-Length: " + b"9" * 19), {413}
    yield "a length of thousands of digits", message(BODY, b"Content-Length: " + b"9" * 6000), {400, 413}
    yield "too many bytes", message(b" " * (2 * LARGEST_MB << 20)), {413}
    yield (
        "endless chunks",
        message(b"10000\r\n" + b" " * 65536 + b"\r\n" + (b"10000\r\n" + b" " * 65536 + b"\r\n") * 40,
                b"Transfer-Encoding: chunked"), {413},
    )  # fmt: skip
    yield "a chunk of no size", message(b"zz\r\n", b"Transfer-Encoding: chunked"), {400}
    yield "another coding", message(BODY, b"Transfer-Encoding: gzip"), {400, 501}
    yield "HTTP/2", PREFACE, {400, 505}
    yield "HTTP/3.0", message(BODY).replace(b"HTTP/1.1", b"HTTP/3.0"), {400, 505}
    yield "no host", message(BODY).replace(b"Host: localhost\r\n", b""), {400}
    for method in (b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT", b"PUT", b"DELETE", b"M" * 300):
        yield method.decode()[:10], message(BODY, method=method), {404, 405, 400}
        yield f"{method.decode()[:10]} metrics", message(b"", method=method, path=b"/metrics"), {404, 405, 400}
    for path in (b"/", b"*", b"//", b"/v1/models/", b"/v1/models/model/versions/" + b"9" * 30 + b":predict",
                 b"/v1/models/%6dodel:predict", b"/../../etc/passwd", b"http://localhost/v1/models/model:predict",
                 b"/v1/models/model:predict\xff", b"/v1/models/" + b"m" * 9000 + b":predict"):  # fmt: skip
        yield f"the path {path[:40]!r}", message(BODY, path=path), {404, 400}
    yield "an unknown version", message(BODY, path=b"/v1/models/model/versions/77:predict"), {404}
    for name, body in {
        "deep": deep, "nothing": b"", "zeros": bytes(1000), "half": BODY[:-5], "compressed": gzip.compress(BODY),
        "a number of 6000 digits": b'{"instances": [' + b"9" * 6000 + b"]}", "a list": b"[]", "null": b"null",
        "lone surrogates": b'{"instances": [{"ids": [1, 2, 3], "word": "\\ud800"}], "a\\ud800": 1}',
        "NaN": b'{"instances": [{"ids": [NaN, 2, 3], "word": "a"}]}',
        "many lists": b'{"inputs": {"ids": [' + b"[]," * 200_000 + b'[]], "word": ["a"]}}',
        "many names": json.dumps({"instances": [{f"n{number}": 1 for number in range(20_000)}]}).encode(),
        "too few": json.dumps({"instances": [{"ids": [1, 2], "word": "a"}]}).encode(),
        "missing": json.dumps({"instances": [{"ids": [1, 2, 3]}]}).encode(),
        "no records": json.dumps({"inputs": {"ids": [], "word": []}}).encode(),
        "unequal": json.dumps({"inputs": {"ids": [[1, 2, 3]] * 2, "word": ["a"]}}).encode(),
        "another type": json.dumps({"instances": [{"ids": ["1", 2, 3], "word": "a"}]}).encode(),
    }.items():  # fmt: skip
        yield f"JSON: {name}", message(body), {400}


def refused(target: Target) -> list[str]:
    """Every bad request over HTTP has an answer of its kind, which is JSON and says what is wrong."""
    wrong = []
    for name, sent, wanted in bad_requests():
        status, body = target.ask(sent)
        told = b'"error"' in body or sent.startswith(b"HEAD")
        if status not in wanted or not told:
            wrong.append(f"{name}: {status} {body[:100]!r}")
    return wrong


def refused_calls(target: Target) -> list[str]:
    """Every bad call over gRPC has a status of its kind."""
    import tensorflow as tf

    def tensor(value: Any, shape: list[int], **fields: Any) -> bytes:
        proto = tf.make_tensor_proto(value, **fields)
        del proto.tensor_shape.dim[:]
        for size in shape:
            proto.tensor_shape.dim.add().size = size
        return bytes(proto.SerializeToString())

    full = (LARGEST_MB << 20) // 4
    bombs = {f"i{number}": tensor(1.0, [full]) for number in range(2000)}
    texts = tensor("a", [LARGEST_MB << 20])
    cases: list[tuple[str, bytes, set[str], dict[str, Any]]] = [
        ("nothing", b"", {"NOT_FOUND"}, {}),
        ("zeros", bytes(1000), {"INVALID_ARGUMENT"}, {}),
        ("too large", bytes(2 * LARGEST_MB << 20), {"RESOURCE_EXHAUSTED"}, {}),
        ("compressed a thousandfold", bytes(300 << 20), {"RESOURCE_EXHAUSTED", "UNIMPLEMENTED", "INTERNAL"},
         {"compression": grpc.Compression.Gzip}),
        ("one value for many", predict_request(ids=tensor(1, [1 << 30, 3])), {"INVALID_ARGUMENT"}, {}),
        ("many such inputs", predict_request(**bombs), {"INVALID_ARGUMENT"}, {}),
        ("one text for many", predict_request(word=texts), {"INVALID_ARGUMENT"}, {}),
        ("a negative size", predict_request(ids=tensor(1, [-1, 3])), {"INVALID_ARGUMENT"}, {}),
        ("an empty one of an enormous size", predict_request(ids=tensor(1, [0, 1 << 62])), {"INVALID_ARGUMENT"}, {}),
        ("no tensor", predict_request(ids=b"\xff\xff"), {"INVALID_ARGUMENT"}, {}),
        ("another type", predict_request(ids=np.zeros((1, 3), np.float32)), {"INVALID_ARGUMENT"}, {}),
        ("another shape", predict_request(ids=np.zeros((1, 4), np.int64)), {"INVALID_ARGUMENT"}, {}),
        ("unequal", predict_request(ids=np.zeros((2, 3), np.int64)), {"INVALID_ARGUMENT"}, {}),
        ("one too many", predict_request(more=np.zeros(1)), {"INVALID_ARGUMENT"}, {}),
        ("an unknown method", predict_request(), {"UNIMPLEMENTED"}, {"method": "Nothing"}),
        ("no token", predict_request(), {"UNAUTHENTICATED"}, {"token": "guess"}),
    ]  # fmt: skip
    wrong = []
    for name, request, wanted, options in cases:
        with Watched(target) as watched:
            code = target.call(request, **options)
        if code not in wanted:
            wrong.append(f"{name}: {code}")
        if watched.grown > target.spare:
            wrong.append(f"{name}: the server grew by {watched.grown >> 20} MiB")
    return wrong


def damaged(target: Target, requests: int, seed: int) -> list[str]:
    """Good requests with some bytes changed, cut short, or closed on one side, to both ports."""
    rng, wrong = random.Random(seed), []
    known = message(BODY)
    unknown = known.replace(TOKEN.encode(), b"another")
    frames = PREFACE + _call_head() + b"\0\0\5\0\0\0\0\0\1\0\0\0\0\0"
    kinds = [(target.http, known), (target.http, unknown), (target.grpc, frames), (target.grpc, predict_request())]
    with target.channel() as channel, Watched(target) as watched:
        send = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        for number in range(requests):
            place, whole = kinds[number % len(kinds)]
            base = bytearray(whole)
            for _ in range(rng.randrange(1, 9)):
                base[rng.randrange(len(base))] = rng.randrange(256)
            if number % len(kinds) == 3:
                with contextlib.suppress(grpc.RpcError):
                    send(bytes(base), timeout=60, metadata=(("authorization", f"Bearer {TOKEN}"),))
                continue
            with contextlib.suppress(OSError), target.connect(place) as connection:
                connection.sendall(base[: rng.randrange(1, len(base) + 1)])
                if not target.tls and rng.random() < 0.5:
                    connection.shutdown(socket.SHUT_WR)
                    _rest(connection)
    if watched.grown > target.spare:
        wrong.append(f"{requests} damaged requests: the server grew by {watched.grown >> 20} MiB")
    return wrong


def half_closed(target: Target) -> list[str]:
    """A client that has sent its request and closed its side is answered; so is one that sends many at once."""
    wrong = []
    with socket.create_connection(target.http, timeout=30) as connection:
        connection.sendall(message(BODY))
        connection.shutdown(socket.SHUT_WR)
        if not _rest(connection).startswith(b"HTTP/1.1 200"):
            wrong.append("a half-closed connection is not answered")
    with socket.create_connection(target.http, timeout=30) as connection:
        connection.sendall(message(BODY).replace(b"Connection: close\r\n", b"") * 20 + message(BODY))
        if (found := _rest(connection).count(b"HTTP/1.1 200")) != 21:
            wrong.append(f"{found} of 21 requests sent at once are answered")
    return wrong


# ------------------------------------------------------------ all of it


@contextlib.contextmanager
def attacked(tls: bool, model: Path, spare: int, patience: float) -> Iterator[Target]:
    """Run a server with a token."""
    options: dict[str, Any] = {}
    authority = b""
    if tls:
        authority = certificates.authority(TOKEN)
        key, certificate = certificates.issued(TOKEN, NAME)
        for option, content in (("tls_key", key), ("tls_cert", certificate)):
            (model.parent / option).write_bytes(content)
            options[option] = os.fspath(model.parent / option)
    with elasticdl_nb.serve(model, token=TOKEN, max_request_mb=LARGEST_MB, **options) as server:
        yield Target(server, authority, spare, patience)


def attack(target: Target, requests: int, seed: int) -> list[str]:
    """Do everything to a server; return what is wrong."""
    rounds: dict[str, Callable[[], list[str]]] = {
        "before": target.lives,
        "bad requests": lambda: refused(target),
        "bad calls": lambda: refused_calls(target),
        "floods": lambda: held(target),
        "strangers who stay": lambda: cut_off(target),
        f"{requests} damaged requests": lambda: damaged(target, requests, seed),
        "half-closed": lambda: [] if target.tls else half_closed(target),
    }
    found = []
    for name, action in rounds.items():
        begun, memory = time.monotonic(), target.process.memory_info().rss >> 20
        wrong = action()
        wrong += [f"afterwards, {one}" for one in target.lives()]
        now = target.process.memory_info().rss >> 20
        print(
            f"{'TLS' if target.tls else 'plain'}, {name}: {'; '.join(wrong) or 'all right'} "
            f"({time.monotonic() - begun:.1f} s, from {memory} to {now} MiB)",
            flush=True,
        )
        found += [f"{name}: {one}" for one in wrong]
    return found


def attack_both(requests: int, seed: int, spare: int, patience: float) -> dict[str, list[str]]:
    """Attack a server without TLS and one with it, at the same time; return what is wrong with each."""
    with tempfile.TemporaryDirectory(prefix="attacked-") as folder, ThreadPoolExecutor(2) as pool:
        model = write_model(Path(folder))

        def one(tls: bool) -> list[str]:
            with attacked(tls, model, spare, patience) as target:
                return attack(target, requests, seed)

        return dict(zip(("plain", "TLS"), pool.map(one, (False, True)), strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000, help="damaged requests to each server")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    return int(any(attack_both(given.requests, given.seed, 24 << 20, 2 * STAY).values()))


if __name__ == "__main__":
    sys.exit(main())
