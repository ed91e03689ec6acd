"""Models of many styles on synchronous servers: two workers learn what one learns from their batches together.

The workers are threads that make each step at the same time, so that every mean is that of one batch of each.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from rings import at_once
from test_allreduce_trainer import Session, both
from test_styles_in_ring import ONE, PRELUDE, REFUSED, STYLES, X, batch

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers, serving
from elasticdl_nb.runtime.model.loading.loader import ModelDefinition, load
from elasticdl_nb.runtime.parameters.store import UpdatePolicy
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.ps.inprocess import InProcessServers
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.worker.training.servers import ServerTrainer

CLIPPED = """
def custom_model():
    i = keras.Input((4,))
    return keras.Model(i, keras.layers.Dense(1)(keras.layers.Dense(8, "tanh")(i)))
def optimizer(): return keras.optimizers.SGD(0.5, {})
"""
WORKS = (
    "several tasks, weights",
    "losses of layers",
    "words, a mask, an LSTM",
    "transformer",
    "wide and deep",
    "a loss of its own",
)
CASES = {
    **{name: STYLES[name] for name in WORKS},
    **{f"{one} clips the mean": (CLIPPED.format(one), (X, ONE))
       for one in ("global_clipnorm=0.05", "clipnorm=0.05", "clipvalue=0.02")},
    "large embeddings, clipped": (STYLES["transformer"][0] + "def optimizer(): return keras.optimizers.SGD("
                                  "0.5, global_clipnorm=0.01)\n", STYLES["transformer"][1]),
}  # fmt: skip
NOT_A_MEAN = {
    "pairs within a batch": (*REFUSED["pairs within a batch"][:2], "a batch's loss is not the mean"),
    "a value for each record": (
        CLIPPED.format("") + "def loss(labels, outputs): return keras.ops.square(labels - outputs)[:, 0]\n"
        "class Each(keras.losses.Loss):\n"
        "    def __call__(self, y, p, sample_weight=None): return keras.ops.square(y - p)[:, 0]\n"
        "loss = Each()\n",
        (X, ONE),
        r"it has the shape \(\d,\) for \d records, which Keras adds up",
    ),
    "no reduction": (
        CLIPPED.format("") + "loss = keras.losses.MeanSquaredError(reduction=None)\n", (X, ONE), "reduction=None",
    ),
}  # fmt: skip


class Workers:
    """Trainers of one job on synchronous servers, in step with each other."""

    def __init__(self, count: int, folder: Path, module: str, form: Any, *, tables: bool = False) -> None:
        servers = InProcessServers(UpdatePolicy(grads_to_wait=count))
        spec = JobSpec(
            kind="train", model_def=module, distribution_strategy="ParameterServerStrategy", use_async=False,
            num_workers=count, grads_to_wait=count,
        )  # fmt: skip
        together = threading.Barrier(count)
        self.trainers: list[ServerTrainer] = []
        for _ in range(count):
            keras.backend.clear_session()
            keras.utils.set_random_seed(7)
            layers = ServedLayers(1 if tables else sys.maxsize, seed=7)
            with serving(layers):
                loaded = load(ModelDefinition(zoo=str(folder), model_def=module))
                loaded.build(form[0])
            assert bool(layers.layers) is tables
            trainer = ServerTrainer(spec, loaded, Session(), form, lambda step, loss: None, layers)  # type: ignore[arg-type]
            trainer.connect(servers, 0)
            trainer._apply_batch = self._in_step(together, trainer._apply_batch)
            self.trainers.append(trainer)

    @staticmethod
    def _in_step(together: threading.Barrier, step: Any) -> Any:
        def apply(batch: Any) -> Any:
            together.wait(60)
            return step(batch)

        return apply

    def train(self, *batches: list[Any]) -> list[np.ndarray]:
        calls = [
            lambda trainer=trainer, number=number, own=own: trainer.train(pb.Task(index=number), iter(own))
            for number, (trainer, own) in enumerate(zip(self.trainers, batches, strict=True))
        ]
        at_once(calls)
        self.trainers[0].finish()
        return [np.asarray(one) for one in self.trainers[0].model.weights]


@pytest.mark.parametrize("name", CASES)
def test_two_workers_learn_what_one_learns(tmp_path: Path, name: str) -> None:
    text, form = CASES[name]
    module = f"m{list(CASES).index(name)}"
    (tmp_path / f"{module}.py").write_text(PRELUDE + text)
    tables = "large" in name
    two, alone = (Workers(n, tmp_path, f"{module}.custom_model", form, tables=tables) for n in (2, 1))
    parts = [[batch(form, 5, step) for step in range(3)], [batch(form, 3, 100 + step) for step in range(3)]]
    ours = two.train(*parts)
    for one, other in zip(ours, alone.train([both(a, b) for a, b in zip(*parts, strict=True)]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NOT_A_MEAN)
def test_a_loss_that_workers_cannot_share_is_refused(tmp_path: Path, name: str) -> None:
    text, form, message = NOT_A_MEAN[name]
    module = f"r{list(NOT_A_MEAN).index(name)}"
    (tmp_path / f"{module}.py").write_text(PRELUDE + text)
    with pytest.raises(ModelError, match=message):
        Workers(2, tmp_path, f"{module}.custom_model", form).train(*[[batch(form, 6, n)] for n in range(2)])
