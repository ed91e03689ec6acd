"""Tasks that are thrown away, as after going back to a checkpoint, cost no iteration over the dataset."""

from __future__ import annotations

import queue
import threading
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from elasticdl_nb.runtime.data.reader import open_reader
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.worker.feed import Feed, StreamSource, Work


@pytest.fixture
def source(tmp_path) -> StreamSource:
    pq.write_table(pa.table({"x": np.arange(100)}), tmp_path / "data.parquet")

    def make(chunks: tf.data.Dataset, number: tf.Tensor) -> tf.data.Dataset:
        return chunks.map(lambda chunk: chunk["x"]).rebatch(5)

    made = StreamSource(open_reader(str(tmp_path / "data.parquet"), {}), make)
    made.path = str(tmp_path / "data.parquet")  # type: ignore[attr-defined]
    return made


def test_tasks_that_are_thrown_away_are_not_read(source, monkeypatch):
    begun = []

    def work(start: int) -> Work:
        task = pb.Task(index=start, ranges=[pb.Range(path=source.path, start=start, end=start + 10)])
        source.announce(task)
        return Work(task, source.batches())

    class Counted:
        def __init__(self, dataset: Any) -> None:
            self._dataset = dataset

        def __iter__(self) -> Any:
            begun.append(True)
            return iter(self._dataset)

    monkeypatch.setattr(source, "_dataset", Counted(source._dataset))
    whole, broken_off, never_begun, last = (work(start) for start in (0, 20, 40, 60))
    assert np.concatenate([batch.numpy() for batch in whole.batches]).tolist() == list(range(10))
    whole.close()
    assert next(broken_off.batches).numpy().tolist() == list(range(20, 25))
    for thrown_away in (broken_off, never_begun):
        thrown_away.close()
    assert len(begun) == 1
    assert np.concatenate([batch.numpy() for batch in last.batches]).tolist() == list(range(60, 70))
    assert len(begun) == 2
    source.close()


def test_a_task_that_is_still_being_opened_is_work():
    tasks: queue.Queue[Any] = queue.Queue()
    asked, opened, closed = threading.Event(), threading.Event(), []

    def idle(ready: Any) -> None:
        closed.append(ready())
        tasks.put(pb.Task(ranges=[pb.Range(path="p")]))
        assert asked.wait(60)
        closed.append(ready())
        opened.set()

    def source(task: pb.Task) -> Any:
        asked.set()
        assert opened.wait(60)
        raise OSError("gone")

    work = next(iter(Feed(tasks, source, idle)))
    assert closed == [False, True] and work.task.ranges
    tasks.put(None)
