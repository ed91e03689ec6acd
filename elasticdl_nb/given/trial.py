"""Trying a model before its job starts, where its source hints at something that its strategy may not be able to do.

Reading the source does not settle what a model does. So another process makes the model, as a worker would, while
nothing of the job has started. It takes as long as a worker's start, and only such models need it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.spec import JobSpec

TRIAL_SECONDS = 300.0
"""How long a trial may take. On a small machine, importing TensorFlow from a cold disk takes minutes."""
_TRYING = "elasticdl_nb.runtime.worker.trying"
_HINTS = re.compile(
    r"compute_loss|add_loss|matmul|transpose|einsum|train_step|make_train_function|constraint|max_norm|non_neg|use_ema|gradient_accumulation|float16|dtype_policy"
    r"|LossScale|loss_scale|reduction|run_eagerly|synchronized|apply_gradients"
    r"|def apply\b|scale_loss|finalize_variable_values|exclude_from_weight_decay|load_model|from_config"
    r"|(?i:adafactor|muon|schedule_?free)|MultiOptimizer|\bOptimizer\)"
    r"|clipnorm|SpectralNormalization|\.assign|restore_best_weights|ModelCheckpoint|OrbaxCheckpoint|SwapEMAWeights"
)
_FADING, _OF_SQL = "slot_half_life", "sql_model.json"
_HINTS_FOR_ALL = re.compile(rf"BackupAndRestore|TensorBoard|make_test_function|{_FADING}")
"""What no strategy may be able to do."""
_HINTS_FOR_TESTS = re.compile(r"train_step|tf\.lookup")
"""What cannot be tested before it is learnt."""
_HINTS_FOR_FOLLOWING = re.compile(r"Decay\b|schedules|Schedule\b|DecayRestarts")
"""What may end at a learning rate of zero."""
_HINTS_FOR_PREDICTION = re.compile(r"on_predict_")
"""What several workers cannot do."""


def needs_trial(spec: JobSpec, zoo: Path) -> bool:
    """Whether a job's zoo hints at something that its strategy, or none, may be able to do, or options ask for it."""
    if importlib.util.find_spec("tensorflow") is None:
        return False
    if spec.alarm:  # only the model knows the names of its metrics
        return True
    hints = {
        "train": [
            _HINTS_FOR_ALL,
            *([_HINTS] if spec.uses_servers or spec.uses_allreduce else []),
            *([_HINTS_FOR_TESTS] if spec.prequential else []),
            *([_HINTS_FOR_FOLLOWING] if spec.follow else []),
        ],
        "predict": [_HINTS_FOR_PREDICTION] if spec.num_workers > 1 else [],
    }.get(spec.kind, [])
    # Code says what it uses. An object captured by value names its classes, but has every attribute that there is.
    values = [file.read_bytes().decode("latin-1") for file in sorted(zoo.rglob("state/*.pkl"))] if hints else []
    if _HINTS in hints and any("keras.src." in value for value in values):
        return True
    if hints and any(_FADING in file.read_text(errors="replace") for file in zoo.rglob(_OF_SQL)):
        return True
    texts = [file.read_text(errors="replace") for file in sorted(zoo.rglob("*.py"))] + values
    texts += [spec.optimizer, spec.loss, spec.callbacks]
    texts += [json.dumps(said, default=str) for said in (spec.params, spec.embedding_options)]
    return any(hint.search(text) for text in texts for hint in hints)


def try_model(folder: Path) -> None:
    """Make the model of the job in `folder` in another process; raise ModelError, which says why, if it is refused.

    A process that ends without an answer refuses nothing: the worker has the last word.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-m", _TRYING, os.fspath(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=TRIAL_SECONDS)
        refused = json.loads(done.stdout)["refused"]
    except (subprocess.TimeoutExpired, ValueError):
        return
    if refused:
        raise ModelError(refused)
