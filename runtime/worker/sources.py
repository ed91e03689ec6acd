"""Where the batches of each kind of task come from."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import tensorflow as tf

from elasticdl_nb.runtime.data.reader import Reader
from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.worker.feed import BatchSource, StreamSource, TaskSource
from elasticdl_nb.runtime.worker.jobdata import JobData

MODES = {pb.TRAIN: Mode.TRAINING, pb.EVALUATE: Mode.EVALUATION, pb.PREDICT: Mode.PREDICTION}


class Sources:
    """A source for each kind of task, made when it is first needed, from any thread."""

    def __init__(self, spec: JobSpec, loaded: LoadedModel, data: JobData) -> None:
        self._spec, self._loaded, self._data = spec, loaded, data
        self._sources: dict[pb.TaskKind, BatchSource] = {}
        self._lock = threading.Lock()

    def __getitem__(self, kind: pb.TaskKind) -> BatchSource:
        with self._lock:
            if kind not in self._sources:
                self._sources[kind] = self._made(kind)
            return self._sources[kind]

    def reader(self, kind: pb.TaskKind) -> Reader:
        """Return the reader of the records of a kind of task."""
        is_validation = kind == pb.EVALUATE and self._spec.kind == "train"
        return self._data.reader("validation_data" if is_validation else "data")

    def _made(self, kind: pb.TaskKind) -> BatchSource:
        reader = self.reader(kind)
        kinds = StreamSource if self._loaded.maps_records else TaskSource
        at_once = self._loaded.records_at_once(self._spec.minibatch_size, self._task_records)
        return kinds(reader, partial(self._dataset, kind, reader), at_once)

    @property
    def _task_records(self) -> int:
        return self._spec.minibatch_size * self._spec.num_minibatches_per_task

    def _dataset(
        self, kind: pb.TaskKind, reader: Reader, chunks: tf.data.Dataset, number: Any = None
    ) -> tf.data.Dataset:
        spec = self._spec
        shuffles = kind == pb.TRAIN and spec.shuffle and not spec.follow
        return self._loaded.batches(
            chunks, MODES[kind], reader.metadata, form=reader.form, batch_size=spec.minibatch_size,
            shuffle_seed=spec.seed if shuffles else None,
            task_records=self._task_records, number=number,
            weight_column=spec.sample_weight_column, class_weights=spec.class_weight,
        )  # fmt: skip
