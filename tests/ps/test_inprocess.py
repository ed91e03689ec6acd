import numpy as np
import pytest

from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.api import Push, StepRequest
from elasticdl_nb.runtime.parameters.table import TableSpec
from elasticdl_nb.runtime.ps.inprocess import InProcessServers

SGD = {"class_name": "SGD", "config": {"learning_rate": 0.5, "momentum": 0.0, "nesterov": False}}
DENSE = {"w": np.zeros((2, 2), np.float32), "b": np.zeros(3, np.float32)}
TABLES = [TableSpec("t", 2, "zeros")]


def started():
    servers = InProcessServers()
    servers.initialize(SGD, DENSE, TABLES)
    return servers


def test_a_step_applies_gradients_and_brings_what_comes_next():
    push = Push({"w": np.ones((2, 2), np.float32)}, {"t": (np.array([3]), np.ones((1, 2), np.float32))})
    result = started().step(StepRequest(push, lookup={"t": np.array([3, 4])}))
    assert (result.accepted, result.version) == (True, 1)
    assert result.dense["w"].tolist() == [[-0.5, -0.5], [-0.5, -0.5]] and result.dense["b"].tolist() == [0, 0, 0]
    assert result.rows["t"].tolist() == [[-0.5, -0.5], [0, 0]]


def test_an_asynchronous_step_that_fails_says_so_in_its_future():
    future = started().step_async(StepRequest(Push(rows={"other": (np.array([3]), np.ones((1, 2), np.float32))})))
    with pytest.raises(DataError, match="no embedding named other"):
        future.result()


def test_a_checkpoint_brings_everything_back(tmp_path):
    servers = started()
    servers.step(StepRequest(Push(rows={"t": (np.array([3, 9]), np.ones((2, 2), np.float32))})))
    servers.assign({"b": np.array([1, 2, 3], np.float32)})
    servers.save(tmp_path)
    again = InProcessServers()
    again.restore(tmp_path)
    assert again.initialize(SGD, DENSE, TABLES)["b"].tolist() == [1, 2, 3]
    assert again.pull()[1] == 1
    ids, rows = (np.concatenate(parts) for parts in zip(*again.export("t"), strict=True))
    assert dict(zip(ids.tolist(), rows.tolist(), strict=True)) == {3: [-0.5, -0.5], 9: [-0.5, -0.5]}


@pytest.mark.parametrize("other", [{"w": np.zeros(5, np.float32)}, {"c": np.zeros(5, np.float32)}])
def test_a_checkpoint_of_another_model_is_refused(tmp_path, other):
    servers = started()
    servers.save(tmp_path)
    servers.restore(tmp_path)
    with pytest.raises(DataError, match=r"is of another model: variable [wc] has 5 values"):
        servers.initialize(SGD, {**DENSE, **other}, TABLES)
