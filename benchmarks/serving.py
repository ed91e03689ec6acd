"""Latency of `elasticdl serve` for DeepFM records of 26 ids, beside TensorFlow's SavedModel and Keras in a process.

    python benchmarks/serving.py [--rate 200] [--seconds 20] [--swaps 20]

A job trains the model on two servers; its tables are files. Requests of one record come at a fixed rate, whether or not
earlier ones have been answered, so waiting counts. Then versions are swapped in while requests go on: none may fail.
The same records go to the SavedModel of the same model with ordinary layers, and to `model.predict`, one by one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import elasticdl_nb

IDS, FIELDS = 1_000_000, 26
MODEL = """
import keras, tensorflow as tf
import elasticdl_nb

def custom_model():
    ids = keras.Input((26,), dtype="int64", name="ids")
    rows = elasticdl_nb.Embedding(16, name="rows")(ids)
    first = keras.layers.Flatten()(elasticdl_nb.Embedding(1, name="first")(ids))
    total = keras.ops.sum(rows, axis=1)
    crossed = 0.5 * keras.ops.sum(total * total - keras.ops.sum(rows * rows, axis=1), axis=1, keepdims=True)
    deep = keras.layers.Dense(64, "relu")(keras.layers.Dense(128, "relu")(keras.layers.Flatten()(rows)))
    linear = keras.ops.sum(first, axis=1, keepdims=True)
    return keras.Model({"ids": ids}, {"logit": linear + crossed + keras.layers.Dense(1)(deep)})

@elasticdl_nb.batched
def input_fn(columns, mode):
    features = {"ids": tf.stack([columns[f"c{n}"] for n in range(26)], 1)}
    return features if mode == elasticdl_nb.Mode.PREDICTION else (features, columns["y"][:, None])

def loss(labels, outputs):
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=outputs["logit"])

def optimizer():
    return keras.optimizers.Adagrad(0.05)
"""


def told(name: str, seconds: list[float], failed: int = 0) -> None:
    p50, p99 = np.percentile(np.array(seconds) * 1000, [50, 99])
    print(f"{name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, {len(seconds)} requests, {failed} failed", flush=True)


async def http_load(url: str, bodies: list[bytes], rate: float, seconds: float) -> tuple[list[float], int]:
    """Send requests at a rate over a few connections; return their latencies, from when each was due."""
    host, path = url.removeprefix("http://").partition("/")[::2]
    name, port = host.split(":")
    free: asyncio.Queue[Any] = asyncio.Queue()
    for _ in range(16):
        free.put_nowait(await asyncio.open_connection(name, int(port)))
    latencies: list[float] = []
    failed = 0

    async def one(number: int, due: float) -> None:
        nonlocal failed
        reader, writer = await free.get()
        body = bodies[number % len(bodies)]
        head = f"POST /{path}:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        size = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        await reader.readexactly(size)
        failed += not answer.startswith(b"HTTP/1.1 200")
        free.put_nowait((reader, writer))
        latencies.append(time.perf_counter() - due)

    await _at_rate(one, rate, seconds)
    return latencies, failed


async def grpc_load(address: str, ids: np.ndarray, rate: float, seconds: float) -> tuple[list[float], int]:
    from elasticdl_nb.runtime.protocol import serving_pb2 as pb
    from elasticdl_nb.runtime.serving import tensors

    requests = []
    for row in ids:
        inputs = tensors.messages({"ids": row[np.newaxis]})
        requests.append(pb.PredictRequest(model_spec=pb.ModelSpec(name="model"), inputs=inputs).SerializeToString())
    latencies: list[float] = []
    failed = 0
    async with grpc.aio.insecure_channel(address) as channel:
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

        async def one(number: int, due: float) -> None:
            nonlocal failed
            try:
                await predict(requests[number % len(requests)])
            except grpc.RpcError:
                failed += 1
            latencies.append(time.perf_counter() - due)

        await _at_rate(one, rate, seconds)
    return latencies, failed


async def _at_rate(one: Any, rate: float, seconds: float) -> None:
    begun, tasks = time.perf_counter(), []
    for number in range(int(rate * seconds)):
        due = begun + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(number, due)))
    await asyncio.gather(*tasks)


def train(folder: Path, zoo: Path, output: Path, **options: Any) -> None:
    elasticdl_nb.train(
        model_zoo=str(zoo), model_def="deepfm", data=str(folder / "data.parquet"), output=str(output), num_ps=2,
        num_workers=1, distribution_strategy="ParameterServerStrategy", minibatch_size=1024, wait=True, progress=False,
        **options,
    )  # fmt: skip


async def swapped(server: Any, folder: Path, count: int, bodies: list[bytes], rate: float) -> None:
    """Swap versions in while requests go on."""
    seconds = 4.0 * count
    load = asyncio.create_task(http_load(server.url, bodies, rate, seconds))

    def version() -> str:
        with urllib.request.urlopen(server.url) as answer:
            return str(json.load(answer)["model_version_status"][0]["version"])

    for number in range(2, count + 2):
        shutil.copytree(folder / "versions" / "1", folder / "versions" / f".{number}")
        (folder / "versions" / f".{number}").rename(folder / "versions" / str(number))
        while await asyncio.to_thread(version) != str(number):
            await asyncio.sleep(0.05)
    told(f"{count} swaps under load", *await load)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--swaps", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="serving-") as name:
        folder = Path(name)
        os.environ["ELASTICDL_HOME"] = str(folder / "home")
        (folder / "zoo").mkdir()
        (folder / "zoo" / "deepfm.py").write_text(MODEL)
        random = np.random.default_rng(0)
        ids = random.zipf(1.2, (100_000, FIELDS)) % IDS
        columns = {f"c{number}": ids[:, number] for number in range(FIELDS)}
        pq.write_table(pa.table({**columns, "y": (ids[:, 0] % 2).astype(np.float32)}), folder / "data.parquet")
        train(folder, folder / "zoo", folder / "versions" / "1", table_files_mb=0, saved_model=False)
        train(folder, folder / "zoo", folder / "ordinary")
        some = ids[:2000]
        bodies = [json.dumps({"instances": [{"ids": row.tolist()}]}).encode() for row in some]
        with elasticdl_nb.serve(folder / "versions") as server:
            asyncio.run(http_load(server.url, bodies, given.rate, 2))
            told(f"HTTP at {given.rate:g}/s", *asyncio.run(http_load(server.url, bodies, given.rate, given.seconds)))
            told(f"gRPC at {given.rate:g}/s", *asyncio.run(grpc_load(server.grpc, some, given.rate, given.seconds)))
            asyncio.run(swapped(server, folder, given.swaps, bodies, given.rate))
        in_process(folder, some[:500])


def in_process(folder: Path, ids: np.ndarray) -> None:
    import tensorflow as tf

    saved = tf.saved_model.load(str(folder / "ordinary" / "saved_model")).signatures["serving_default"]
    keras_model = elasticdl_nb.load(folder / "ordinary")
    mapped = elasticdl_nb.load(folder / "versions" / "1")
    for name, call in (
        ("SavedModel in the process", lambda one: saved(ids=tf.constant(one))),
        ("Keras' predict", lambda one: keras_model.predict({"ids": one}, verbose=0)),
        ("Keras' predict with mapped tables", lambda one: mapped.predict({"ids": one}, verbose=0)),
    ):
        seconds = []
        for row in ids:
            begun = time.perf_counter()
            call(row[np.newaxis])
            seconds.append(time.perf_counter() - begun)
        told(f"{name}, one after the other", seconds[20:])


if __name__ == "__main__":
    main()
