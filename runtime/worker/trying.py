"""`python -m elasticdl_nb.runtime.worker.trying JOB_FOLDER`: makes a job's model as a worker would, and trains nothing.

Writes JSON to standard output: {"refused": why the job cannot train the model, or an empty string}.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.imports import only_what_computes
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage import workfolder
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.worker.failures import without_autograph

if TYPE_CHECKING:
    from elasticdl_nb.runtime.model.loading.loader import LoadedModel


def try_model(spec: JobSpec, folder: JobFolder) -> None:
    """Load, build and compile the model, and raise ModelError or OptionError if its strategy cannot train it.

    To predict, the model is only loaded, for its callbacks.
    """
    import keras

    from elasticdl_nb.runtime.model.embeddings.served import serving
    from elasticdl_nb.runtime.model.loading.compiling import check_test_function
    from elasticdl_nb.runtime.model.loading.loader import load
    from elasticdl_nb.runtime.model.modelsource import ModelSource
    from elasticdl_nb.runtime.protocol import master_pb2 as pb
    from elasticdl_nb.runtime.worker.feed import Work
    from elasticdl_nb.runtime.worker.jobdata import JobData
    from elasticdl_nb.runtime.worker.predictcallbacks import check_predict_callbacks
    from elasticdl_nb.runtime.worker.sources import Sources
    from elasticdl_nb.runtime.worker.training.callbackchecks import check_callbacks, check_callbacks_with_tables
    from elasticdl_nb.runtime.worker.training.decaying import check_rates
    from elasticdl_nb.runtime.worker.training.misfits import check_fading, makes_own_steps
    from elasticdl_nb.runtime.worker.training.prequential import Prequential
    from elasticdl_nb.runtime.worker.training.strategies import strategy_to_try

    @functools.cache
    def first_batch() -> Any | None:
        if loaded.has_custom_data_reader:
            return None
        file = data.reader("data").files()[0]
        stop = file.start + min(file.records, spec.minibatch_size)
        source.announce(task := pb.Task(ranges=[pb.Range(path=file.path, start=file.start, end=stop)]))
        with contextlib.closing(Work(task, source.batches())) as work:
            return next(work.batches)

    keras.utils.set_random_seed(spec.seed)
    if spec.kind == "predict":
        check_predict_callbacks(load(ModelSource.of(spec, folder).definition).callbacks(), spec.num_workers)
        return
    strategy = strategy_to_try(spec)
    layers = strategy.layers_to_try(spec)
    with serving(layers):
        loaded = load(ModelSource.of(spec, folder).definition)
        if not loaded.has_custom_data_reader:  # which may do anything to be ready
            data = JobData(spec, loaded, folder.listings)
            source = Sources(spec, loaded, data)[pb.TRAIN]
            loaded.build(source.element_spec[0])
            layers.check_options(loaded.model)
    loaded.compile()
    check_fading(layers, loaded.model.optimizer)
    check_test_function(loaded.model)
    check_callbacks(callbacks := loaded.callbacks(), alone=strategy.is_alone(spec))
    if layers.layers:
        check_callbacks_with_tables(callbacks)
    if (batch := first_batch()) is not None and not makes_own_steps(loaded.model):
        _try_batch(loaded, batch)
    strategy.check(spec, loaded, first_batch)
    if spec.follow:
        check_rates(loaded.model)
    if spec.prequential and (batch := first_batch()) is not None:
        Prequential(loaded, source.element_spec, spec.alarm).test(batch)


def _try_batch(loaded: LoadedModel, batch: Any) -> None:
    """Raise DataError if a batch does not suit the model; whatever else goes wrong is for the worker to say."""
    from elasticdl_nb.runtime.worker.unsuitable import Unsuitable, explained

    try:
        with explained(loaded, batch):
            loaded.forward(batch, training=False)
    except Unsuitable:
        raise
    except Exception:
        logging.getLogger(__name__).info("the first batch cannot be tried", exc_info=True)


def main(path: str) -> None:
    """Try the model of the job in this folder, and say whether it is refused."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    folder, refused = JobFolder(path), ""
    workfolder.offer(folder.work)
    try:
        with only_what_computes():
            import tensorflow  # noqa: F401
        try_model(folder.spec(), folder)
    except ElasticDLError as error:
        refused = str(without_autograph(error))
    json.dump({"refused": refused}, answer)
    answer.flush()
    os._exit(0)  # without waiting for TensorFlow's threads


if __name__ == "__main__":
    main(*sys.argv[1:])
