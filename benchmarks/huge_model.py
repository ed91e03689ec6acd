"""A table of several times a memory limit: trained on two servers, written, predicted with, loaded and served.

    python benchmarks/huge_model.py [--limit_mb 1024] [--times 4] [--dim 64] [--batch 32]

Each line is a phase: seconds, and for each kind of process the largest peak of its memory, in MiB. `private` is what
only the process has (RssAnon), and `resident` (VmHWM) also counts pages of files that it has mapped, which the
system can take back. A record has 512 ids, so a batch of 32 has 4 MiB of rows, of which a worker holds many copies:
rows that come, gradients, and freed ones that are kept for the next. Of servers, the bytes of their own rows are
subtracted. With `--rlimit_mb`, RLIMIT_DATA
holds every process after training to so much private memory, reserved or used; TensorFlow reserves more than it uses.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

import elasticdl_nb

MODEL = """
import keras, tensorflow as tf
import elasticdl_nb

def custom_model(dim=64):
    ids = keras.Input((512,), dtype="int64", name="ids")
    rows = elasticdl_nb.Embedding(dim, combiner="mean", name="table")(ids)
    return keras.Model({"ids": ids}, keras.layers.Dense(1)(rows))

@elasticdl_nb.batched
def input_fn(columns, mode):
    features = {"ids": columns["first"][:, None] + tf.range(512, dtype=tf.int64)[None]}
    return features if mode == elasticdl_nb.Mode.PREDICTION else (features, tf.ones([tf.shape(columns["first"])[0], 1]))

def loss(labels, outputs):
    return tf.reduce_mean((labels - outputs) ** 2)

def optimizer():
    return keras.optimizers.SGD(0.1)
"""


class Peaks:
    """Samples the memory of all descendants of this process, by what they do."""

    def __init__(self) -> None:
        self.private: dict[str, float] = {}
        self.resident: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Peaks:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        home = os.environ["ELASTICDL_HOME"]
        while not self._stop.wait(0.2):
            for process in psutil.process_iter():
                try:
                    if process.environ().get("ELASTICDL_HOME") != home or process.pid == os.getpid():
                        continue
                    command = " ".join(process.cmdline())
                    status = Path(f"/proc/{process.pid}/status").read_text()
                except (psutil.Error, OSError):
                    continue
                kind = next((kind for kind, text in KINDS.items() if text in command), "")
                fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
                for peaks, field in ((self.private, "RssAnon"), (self.resident, "VmHWM")):
                    if kind and field in fields:
                        peaks[kind] = max(peaks.get(kind, 0.0), int(fields[field].split()[0]) / 1024)


KINDS = {"worker": "runtime.worker", "server": "runtime.ps", "serving": "runtime.serving", "load": "--load"}


@contextmanager
def phase(name: str, own: float = 0.0) -> Any:
    begun = time.perf_counter()
    with Peaks() as peaks:
        yield
    seconds = time.perf_counter() - begun
    told = [
        f"{kind} private {peaks.private.get(kind, 0) - (own if kind == 'server' else 0):.0f} resident "
        f"{peaks.resident[kind] - (own if kind == 'server' else 0):.0f}"
        for kind in peaks.resident
    ]  # fmt: skip
    print(f"{name}: {seconds:.1f} s; {'; '.join(told)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit_mb", type=int, default=1024)
    parser.add_argument("--rlimit_mb", type=int, default=0)
    parser.add_argument("--times", type=float, default=4)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--load", default="")
    given = parser.parse_args()
    if given.load:
        model = elasticdl_nb.load(given.load)
        for first in range(0, 1 << 20, 1 << 15):
            model.predict({"ids": first + np.arange(512)[None]}, verbose=0)
        return
    rows = int(given.limit_mb * given.times * (1 << 20) / (4 * given.dim)) // 512 * 512
    with tempfile.TemporaryDirectory(prefix="huge-") as folder:
        run(Path(folder), rows, given)


def run(folder: Path, rows: int, given: argparse.Namespace) -> None:
    os.environ["ELASTICDL_HOME"] = str(folder / "home")
    (folder / "zoo").mkdir()
    (folder / "zoo" / "huge.py").write_text(MODEL)
    first = np.random.default_rng(0).permutation(rows // 512).astype(np.int64) * 512
    pq.write_table(pa.table({"first": first}), folder / "data.parquet")
    megabytes = rows * given.dim * 4 / 2**20
    own = (megabytes + rows * 8 / 2**20 + 2 ** np.ceil(np.log2(rows * 1.6 / 2)) * 8 / 2**20) / 2
    print(
        f"{rows} rows of {given.dim} values: {megabytes:.0f} MiB, {given.times:g} times {given.limit_mb} MiB",
        flush=True,
    )
    common: dict[str, Any] = {"data": str(folder / "data.parquet"), "wait": True, "progress": False}
    model = str(folder / "model")
    with phase("train and write", own):
        elasticdl_nb.train(
            model_zoo=str(folder / "zoo"), model_def="huge", params=f"dim={given.dim}", output=model, num_ps=2,
            num_workers=1, distribution_strategy="ParameterServerStrategy",
            minibatch_size=given.batch, num_minibatches_per_task=32, table_files_mb=64, saved_model=False, **common,
        )  # fmt: skip
    size = sum(file.stat().st_size for file in (folder / "model").rglob("*") if file.is_file())
    print(f"the trained model has {size / 2**20:.0f} MiB", flush=True)
    if given.rlimit_mb:  # for all that is started from here on
        resource.setrlimit(resource.RLIMIT_DATA, (given.rlimit_mb << 20, given.rlimit_mb << 20))
    common["minibatch_size"] = given.batch
    with phase("evaluate every record"):
        elasticdl_nb.evaluate(trained_model=model, **common)
    with phase("predict every record"):
        elasticdl_nb.predict(trained_model=model, output=str(folder / "out.parquet"), **common)
    assert pq.read_table(folder / "out.parquet").num_rows == rows // 512
    with phase("load in a process"):
        subprocess.run([sys.executable, __file__, "--load", model], check=True)
    with phase("serve 2000 requests"), elasticdl_nb.serve(model) as server:
        for start in np.random.default_rng(1).integers(0, rows - 512, 2000).tolist():
            body = json.dumps({"instances": [list(range(start, start + 512))]}).encode()
            with urllib.request.urlopen(f"{server.url}:predict", body) as answer:
                answer.read()


if __name__ == "__main__":
    main()
