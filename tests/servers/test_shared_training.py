"""Training with a server whose messages are in shared memory, in a socket, or encrypted: the same to the last bit."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from served_models import FORM, batches, loaded

from elasticdl_nb.runtime.model.embeddings.served import ServedLayers
from elasticdl_nb.runtime.parameters.generations import StoreService
from elasticdl_nb.runtime.protocol.master_pb2 import Task
from elasticdl_nb.runtime.protocol.network import Network
from elasticdl_nb.runtime.ps import server as serving
from elasticdl_nb.runtime.ps import transport
from elasticdl_nb.runtime.ps.client import ParameterClient
from elasticdl_nb.runtime.ps.server import ParameterServer
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.worker.training import servers as training
from elasticdl_nb.runtime.worker.training.rows import tensor_of_parts
from elasticdl_nb.runtime.worker.training.servers import ServerTrainer

ADAM = {"class_name": "Adam", "config": {"learning_rate": 0.01}}


class Silent:
    """A session without a master."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def note(self, level: str, text: str) -> None:
        pass

    def progress(self, step: int, records: int) -> None:
        pass

    def loss(self, step: int, value: float) -> None:
        self.losses.append(value)


@contextlib.contextmanager
def a_server(network: Network | None) -> Iterator[ParameterServer]:
    server = ParameterServer(StoreService(), "token", network)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


def learned(zoo: Path, options: dict[str, Any], network: Network | None = None, shares: bool = True) -> list[Any]:
    """The losses of a training, and what it leaves."""
    keras.utils.set_random_seed(1)
    layers, session = ServedLayers(threshold=1, seed=3), Silent()
    model = loaded(zoo, "functional", layers)
    model._module.OPTIMIZER = ADAM
    spec = JobSpec(kind="train", model_def="embedded", **options)
    trainer = ServerTrainer(spec, model, session, FORM, lambda *_: None, layers)  # type: ignore[arg-type]
    with a_server(network) as server:
        client = ParameterClient([server.address], "token", source="one", shares_memory=shares)
        trainer.connect(client, 0)
        assert (client._transport._servers[0].segment is not None) == (shares and network is None)
        for index in range(3):
            trainer.train(Task(index=index), batches(12))
        trainer.report_loss()
        values, _ = client.pull()
        rows = [client.lookup(table.name, np.arange(200), create=False).copy() for table in layers.specs()]
        result = [np.array(session.losses), *(value.copy() for value in values.values()), *rows]
        client.close()
    return result


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no files without names")
@pytest.mark.parametrize(
    "options",
    [{}, {"use_async": False}, {"get_model_steps": 3}, {"jit_compile": "true"}],
    ids=["asynchronous", "synchronous", "several steps", "compiled"],
)
def test_what_is_learned_does_not_depend_on_how_messages_travel(
    embedded_zoo: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = learned(embedded_zoo, options, shares=False)
    for module in (transport, serving):
        monkeypatch.setattr(module, "LEAST", 0)
    in_place: list[bool] = []

    def noted(parts: list[Any]) -> Any:
        tensor = tensor_of_parts(parts)
        in_place.append(tensor is not None)
        return tensor

    monkeypatch.setattr(training, "tensor_of_parts", noted)
    shared = learned(embedded_zoo, options)
    assert sum(in_place) > 30 / options.get("get_model_steps", 1)  # values are read where the server has put them
    encrypted = learned(embedded_zoo, options, Network.at("127.0.0.2", encrypt=True))
    assert len(sent) > 5 and np.isfinite(sent[0]).all()
    for values in zip(sent, shared, encrypted, strict=True):
        for one, other in itertools.pairwise(values):
            np.testing.assert_array_equal(one, other)


def test_arrays_next_to_each_other_are_one_tensor() -> None:
    memory = np.zeros(1024 + 16, np.float32)
    start = -memory.ctypes.data % 64 // 4
    whole = memory[start : start + 1024]
    whole[:] = np.arange(1024)
    whole.flags.writeable = False
    parts = [whole[:10], whole[10:10], whole[10:11], whole[11:600]]
    tensor = tensor_of_parts(parts)
    np.testing.assert_array_equal(tensor, whole[:600])
    assert np.shares_memory(np.asarray(tensor), memory)
    assert tensor_of_parts([parts[0], parts[3]]) is None
    assert tensor_of_parts([parts[2], parts[3]]) is None  # not where TensorFlow wants it
    assert tensor_of_parts([parts[0], parts[2].copy()]) is None
    assert tensor_of_parts([np.zeros(3, np.float32)]) is None
    assert tensor_of_parts([]) is None
