"""The table of what `fit` honours has everything that the installed Keras has, and says what happens."""

from __future__ import annotations

import contextlib
import inspect
import textwrap
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fitting
import keras
import pytest
from fitting import Here

from elasticdl_nb.given.trial import needs_trial
from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.kerashooks import ROWS, Row, rows_of, table
from elasticdl_nb.runtime.model.loading.compiling import check_test_function
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.worker.training.callbackchecks import check_callbacks
from elasticdl_nb.runtime.worker.training.misfits import check_for_ring
from elasticdl_nb.runtime.worker.training.servers import check_model_for_servers
from elasticdl_nb.runtime.worker.training.tables import tables_misfit

DOCS = Path(__file__).parents[2] / "docs" / "keras.md"


def public(kind: Any) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_") and not ours(getattr(kind, name))}


def ours(member: Any) -> bool:
    """Whether the compatibility package has put it there, for a test that ran before in this process."""
    function = member.fget if isinstance(member, property) else member
    return str(getattr(function, "__module__", "")).startswith("elasticdl_nb")


def arguments(function: Callable[..., Any]) -> set[str]:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    given = inspect.signature(function).parameters.values()
    return {one.name for one in given if one.kind not in kinds} - {"self"}


_BASE = next(kind for kind in keras.optimizers.Optimizer.__mro__ if kind.__name__ == "BaseOptimizer")
INSTALLED = {
    "Model": public(keras.Model) - public(keras.layers.Layer),
    "Layer": public(keras.layers.Layer),
    "Optimizer": public(keras.optimizers.Optimizer),
    "Loss": public(keras.losses.Loss),
    "Metric": public(keras.metrics.Metric),
    "Callback": public(keras.callbacks.Callback),
    "callbacks": {name for name in public(keras.callbacks) if inspect.isclass(getattr(keras.callbacks, name))},
    "optimizers": {name for name in public(keras.optimizers) if inspect.isclass(getattr(keras.optimizers, name))},
    "compile()": arguments(keras.Model.compile),
    "fit()": arguments(keras.Model.fit),
    "Layer()": arguments(keras.layers.Layer.__init__),
    "add_weight()": arguments(keras.layers.Layer.add_weight),
    "Optimizer()": arguments(_BASE.__init__),
    "LossScaleOptimizer()": arguments(keras.optimizers.LossScaleOptimizer.__init__),
    "Loss()": arguments(keras.losses.Loss.__init__),
    "Metric()": arguments(keras.metrics.Metric.__init__),
}
ONLY_SOME = {"BatchNormalization()", "SpectralNormalization()"}
"""Owners of which the table has what matters to strategies, and not everything."""


@pytest.mark.parametrize("owner", INSTALLED)
def test_the_table_has_every_hook_of_the_installed_keras(owner: str) -> None:
    listed = Counter(name for row in rows_of(owner) for name in row.names)
    assert set(listed) == INSTALLED[owner]
    assert set(listed.values()) == {1}


def test_the_table_has_no_other_owners() -> None:
    assert {row.owner for row in ROWS} == {*INSTALLED, *ONLY_SOME}


def test_the_page_shows_the_table() -> None:
    assert table() in DOCS.read_text(), "write what kerashooks.table() returns into docs/keras.md"


# ------------------------------------------------------------------ what is refused

OWN_STEP = """
class Own(Net):
    def train_step(self, data): return super().train_step(data)
def custom_model(): return Own()
"""
COMPILED = "def custom_model():\n    model = mlp()\n    model.compile(optimizer(), 'mse', {})\n    return model\n"
FLOAT16 = "keras.config.set_dtype_policy('mixed_float16')\n"
OPTIMIZER = "def optimizer(): return keras.optimizers.SGD(0.05, {})\n"
CALLBACKS = """
def optimizer(): return keras.optimizers.SGD(0.05)
def callbacks(): return [keras.callbacks.{}]
"""
METHOD = """
class Sgd(keras.optimizers.SGD):
    def {0}(self, *given): return super().{0}(*given)
def optimizer(): return Sgd(0.05)
"""
EXAMPLES = {
    ("Model", "train_step"): OWN_STEP,
    ("Model", "make_train_function"): """
class Own(Net):
    def make_train_function(self, force=False): return super().make_train_function(force)
def custom_model(): return Own()
""",
    ("Model", "make_test_function"): """
class Own(Net):
    def make_test_function(self, force=False): return super().make_test_function(force)
def custom_model(): return Own()
""",
    ("Model", "run_eagerly"): COMPILED.format("run_eagerly=True"),
    ("compile()", "run_eagerly"): COMPILED.format("run_eagerly=True"),
    ("compile()", "auto_scale_loss"): FLOAT16 + COMPILED.format("auto_scale_loss=True"),
    ("Layer", "dtype_policy"): FLOAT16,
    ("Optimizer", "exclude_from_weight_decay"): """
def optimizer():
    made = keras.optimizers.AdamW(0.05)
    made.exclude_from_weight_decay(var_names=["bias"])
    return made
""",
    **{("Optimizer", name): METHOD.format(name)
       for name in ("apply", "apply_gradients", "scale_loss", "finalize_variable_values")},
    ("Optimizer()", "use_ema"): OPTIMIZER.format("use_ema=True"),
    ("Optimizer()", "gradient_accumulation_steps"): OPTIMIZER.format("gradient_accumulation_steps=2"),
    ("Optimizer()", "loss_scale_factor"): OPTIMIZER.format("loss_scale_factor=2.0"),
    **{("optimizers", name): f"def optimizer(): return keras.optimizers.{name}(0.05)\n"
       for name in ("Adafactor", "Muon", "ScheduleFreeAdamW") if hasattr(keras.optimizers, name)},
    ("optimizers", "MultiOptimizer"): """
def optimizer():
    made = keras.optimizers
    return made.MultiOptimizer(made.OptimizerMap(made.SGD(0.05), {"o/.*": made.Adam(0.01)}))
""",
    ("LossScaleOptimizer()", "inner_optimizer"):
        "def optimizer(): return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.05))\n",
    ("add_weight()", "constraint"): "def custom_model(): return mlp(kernel_constraint='non_neg')\n",
    ("SpectralNormalization()", "layer"): """
def custom_model():
    i = keras.Input((4,))
    return keras.Model(i, dense(1, 1)(keras.layers.SpectralNormalization(dense(3, 2))(i)))
""",
    ("Loss()", "reduction"): "loss = keras.losses.MeanSquaredError(reduction='sum')\n",
    **{("callbacks", name): CALLBACKS.format(f"{name}({given})") for name, given in (
        ("EarlyStopping", "restore_best_weights=True"), ("ModelCheckpoint", "'m.keras'"),
        ("BackupAndRestore", "'b'"),
    )},
    ("callbacks", "SwapEMAWeights"): """
def optimizer(): return keras.optimizers.SGD(0.05, use_ema=True)
def callbacks(): return [keras.callbacks.SwapEMAWeights()]
""",
    ("BatchNormalization()", "synchronized"): """
def custom_model():
    i = keras.Input((4,))
    return keras.Model(i, dense(1, 1)(keras.layers.BatchNormalization(synchronized=True)(i)))
""",
}  # fmt: skip


def test_only_trained_weights_may_not_be_assigned_by_layers(tmp_path: Path) -> None:
    text = """
loss = 'mse'
class Own(keras.layers.Layer):
    def build(self, shape):
        self.kernel, self.seen = self.add_weight(shape=(4, 1)), self.add_weight(shape=(), trainable=False)
    def call(self, x, training=False):
        if training: self.WHICH.assign(self.WHICH * 0.9)
        return x @ self.kernel
def custom_model(): return keras.Sequential([keras.Input((4,)), Own(name="own")])
"""
    spec = JobSpec(kind="train", distribution_strategy="ParameterServerStrategy")
    for which, expected in (("seen", ""), ("kernel", "own/variable: a layer assigns this weight while it is called")):
        fitting.write(tmp_path, text.replace("WHICH", which))
        here = Here(tmp_path)
        here.loaded.compile()
        with pytest.raises(ModelError, match=expected) if expected else contextlib.nullcontext():
            check_model_for_servers(here.loaded, spec)


def judged(here: Here) -> dict[str, bool]:
    """Whether each strategy refuses a model; with tables, whether its embeddings are ordinary layers."""
    here.loaded.compile()
    together = JobSpec(kind="train", num_workers=2, distribution_strategy="AllreduceStrategy")
    servers = JobSpec(kind="train", num_workers=2, distribution_strategy="ParameterServerStrategy")
    callbacks = here.loaded.callbacks()
    found = {"tables": bool(tables_misfit(here.loaded)), "local": False}
    with contextlib.suppress(ModelError):
        found["local"] = True
        check_test_function(here.loaded.model)
        check_callbacks(callbacks, alone=True)
        found["local"] = False
    for name, check, spec in (("servers", check_model_for_servers, servers), ("ring", check_for_ring, together)):
        try:
            check_test_function(here.loaded.model)
            check_callbacks(callbacks, alone=False)
            check(here.loaded, spec)
            found[name] = False
        except ModelError as error:
            assert ". " not in str(error), "more than one sentence"
            found[name] = True
    return found


@pytest.mark.parametrize("key", EXAMPLES, ids=".".join)
def test_what_the_table_says_is_refused_is_refused(tmp_path: Path, key: tuple[str, str]) -> None:
    owner, name = key
    row = next(row for row in rows_of(owner) if name in row.names)
    fitting.write(tmp_path, "loss = 'mse'\n" + textwrap.dedent(EXAMPLES[key]))
    try:
        found = judged(Here(tmp_path))
    finally:
        fitting.forget_settings()
    assert found == {
        "local": row.local == "refused", "tables": row.tables == "ordinary", "servers": row.servers == "refused",
        "ring": row.ring == "refused",
    }  # fmt: skip


@pytest.mark.parametrize("key", EXAMPLES, ids=".".join)
def test_what_a_strategy_refuses_is_looked_at_before_the_job_starts(tmp_path: Path, key: tuple[str, str]) -> None:
    owner, name = key
    row = next(row for row in rows_of(owner) if name in row.names)
    fitting.write(tmp_path, "loss = 'mse'\n" + textwrap.dedent(EXAMPLES[key]))
    for verdict, strategy in ((row.servers, "ParameterServerStrategy"), (row.ring, "AllreduceStrategy")):
        if verdict == "refused":
            assert needs_trial(JobSpec(kind="train", num_workers=2, distribution_strategy=strategy), tmp_path)


def test_norms_of_a_mean_need_a_single_server(tmp_path: Path) -> None:
    fitting.write(tmp_path, "loss = 'mse'\n" + OPTIMIZER.format("global_clipnorm=0.5"))
    here = Here(tmp_path)
    here.loaded.compile()
    options = {"kind": "train", "distribution_strategy": "ParameterServerStrategy", "num_ps": 2, "use_async": False}
    check_model_for_servers(here.loaded, JobSpec(**options))
    with pytest.raises(ModelError, match=r"global_clipnorm of the mean .* needs the whole gradient in one place"):
        check_model_for_servers(here.loaded, JobSpec(**options, grads_to_wait=2))


def _refuses(row: Row) -> bool:
    return "refused" in (row.servers, row.ring) or row.tables == "ordinary"


@pytest.mark.parametrize("row", [row for row in ROWS if _refuses(row)], ids=lambda row: f"{row.owner} {row.names[0]}")
def test_every_row_with_a_refusal_has_an_example(row: Row) -> None:
    assert any(row.owner == owner and name in row.names for owner, name in EXAMPLES)
