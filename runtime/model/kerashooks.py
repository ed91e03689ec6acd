"""What `fit`, `evaluate` and `predict` of Keras honour, and what becomes of it in each strategy.

Every public method and attribute of Keras' classes, and every argument of their constructors, `compile` and `fit`, is
in one row. A test compares the rows with the installed Keras, so that a new hook is noticed, and docs/keras.md with
`table()`. Imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["works", "refused", "ordinary", "no effect", "own", "-"]
"""What becomes of a hook: it works; the job is refused before it starts; it works, as large embeddings are trained as
ordinary layers; it changes nothing by its nature; the job has its own way; it is not part of training."""

WORDS: dict[Verdict, str] = {
    "works": "works", "refused": "refused", "ordinary": "works, with ordinary embeddings", "no effect": "no effect",
    "own": "an option of the job", "-": "-",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """Some names of an owner (a class of Keras, or a function's arguments) with the same fate in each strategy."""

    owner: str
    names: tuple[str, ...]
    local: Verdict
    tables: Verdict
    servers: Verdict
    ring: Verdict
    how: str = ""


def _row(owner: str, names: str, verdicts: str, how: str = "") -> Row:
    """`verdicts` are one for all strategies, or four: Local, Local with tables, servers, all-reduce."""
    given = [one.strip() for one in verdicts.split(",")]
    local, tables, servers, ring = given if len(given) == 4 else given * 4
    return Row(owner, tuple(names.split()), local, tables, servers, ring, how)  # type: ignore[arg-type]


_CALLED = "called by the author's code, or by Keras where that calls it"
ROWS: tuple[Row, ...] = (
    # ------------------------------------------------------------ models
    _row("Model", "compile", "works", "the loss, optimizer and metrics of the job win; the rest is kept"),
    _row("Model", "train_step", "works, ordinary, refused, works", "with its optimizers; see below"),
    _row("Model", "make_train_function", "works, ordinary, refused, refused", "override `train_step` instead"),
    _row("Model", "compute_loss loss compiled_loss compute_metrics", "works"),
    _row("Model", "test_step", "works", "values that no metric keeps are averaged over records"),
    _row("Model", "make_test_function", "refused", "override `test_step` instead"),
    _row("Model", "predict_step make_predict_function", "works"),
    _row("Model", "reset_metrics get_metrics_result metrics_names compiled_metrics", "works"),
    _row("Model", "run_eagerly", "works, ordinary, refused, works", "with all-reduce refused beside a `train_step`"),
    _row("Model", "jit_compile", "works, works, works, no effect", "`True`; see below for `--jit_compile`"),
    _row("Model", "distribute_strategy distribute_reduction_method", "no effect", "the job's strategy replaces them"),
    _row("Model", "layers get_layer summary", "works", "large embeddings in tables are counted and shown; `weights` "
         "has no variable for them"),
    _row("Model", "fit evaluate predict train_on_batch test_on_batch predict_on_batch", "-", "the job replaces them; "
         "code that runs when the model is made may call them"),
    _row("Model", "compile_from_config get_compile_config export save save_weights load_weights to_json get_state_tree "
         "set_state_tree get_quantization_layer_structure stateless_compute_loss", "-", _CALLED),
    # ------------------------------------------------------------ layers
    _row("Layer", "call build compute_mask compute_output_shape compute_output_spec supports_masking input_spec "
         "symbolic_call", "works"),
    _row("Layer", "add_loss losses", "works"),
    _row("Layer", "add_weight add_variable weights variables trainable trainable_weights trainable_variables "
         "non_trainable_weights non_trainable_variables", "works"),
    _row("Layer", "metrics metrics_variables add_metric", "works"),
    _row("Layer", "dtype dtype_policy compute_dtype variable_dtype input_dtype", "works, ordinary, refused, works",
         "mixed_float16 scales the loss; other policies work everywhere"),
    _row("Layer", "quantize quantization_mode quantized_build quantized_call rematerialized_call", "works"),
    _row("Layer", "get_weights set_weights count_params load_own_variables save_own_variables path input output",
         "works", "of layers in tables, the values can be read, and set before training"),
    _row("Layer", "build_from_config from_config get_build_config get_config stateless_call", "-", _CALLED),
    # ------------------------------------------------------------ optimizers
    _row("Optimizer", "apply_gradients apply scale_loss finalize_variable_values", "works, ordinary, refused, works",
         "overridden by a class of your own"),
    _row("Optimizer", "build update_step assign assign_add assign_sub iterations learning_rate variables add_variable "
         "add_variable_from_reference add_optimizer_variables", "works"),
    _row("Optimizer", "exclude_from_weight_decay", "works, ordinary, refused, works"),
    _row("Optimizer", "from_config get_config load_own_variables save_own_variables set_weights stateless_apply", "-",
         _CALLED),
    _row("optimizers", "SGD Adam AdamW Adamax Nadam Adagrad RMSprop Adadelta Lion Ftrl Lamb", "works"),
    _row("optimizers", "Adafactor Muon ScheduleFreeAdamW MultiOptimizer OptimizerMap LossScaleOptimizer",
         "works, ordinary, refused, works", "servers know single weights only, and one way to update them"),
    _row("optimizers", "Optimizer", "works", "classes of your own; refused on servers if their state does not belong "
         "to single weights"),
    # ------------------------------------------------------------ losses, metrics
    _row("Loss", "call dtype", "works"),
    _row("Loss", "from_config get_config", "-", _CALLED),
    _row("Metric", "update_state result reset_state add_weight add_variable variables dtype", "works",
         "a state that is not a sum over records is refused when it is first evaluated"),
    _row("Metric", "from_config get_config stateless_reset_state stateless_result stateless_update_state", "-",
         _CALLED),
    # ------------------------------------------------------------ callbacks
    _row("Callback", "on_train_begin on_train_end on_epoch_begin on_epoch_end on_test_begin on_test_end set_model "
         "model set_params", "works", "in one worker, for the whole job"),
    _row("Callback", "on_train_batch_begin on_train_batch_end on_batch_begin on_batch_end on_test_batch_begin "
         "on_test_batch_end", "works", "around the batches of the worker that has the callbacks"),
    _row("Callback", "on_predict_begin on_predict_end on_predict_batch_begin on_predict_batch_end", "works",
         "in prediction jobs of one worker; refused with several"),
    _row("callbacks", "EarlyStopping", "works, ordinary, works, works", "only `restore_best_weights=True` makes large "
         "embeddings ordinary, and is refused with them on parameter servers"),
    _row("callbacks", "ModelCheckpoint OrbaxCheckpoint", "works, ordinary, works, works", "refused with large "
         "embeddings on parameter servers"),
    _row("callbacks", "Callback CallbackList CSVLogger History LambdaCallback LearningRateScheduler ReduceLROnPlateau "
         "RemoteMonitor TerminateOnNaN", "works"),
    _row("callbacks", "TensorBoard", "works", "refused without the package `tensorboard`"),
    _row("callbacks", "ProgbarLogger", "no effect", "it writes to the log of a worker, with `verbose=0`"),
    _row("callbacks", "SwapEMAWeights", "works, ordinary, refused, refused", "refused with several workers"),
    _row("callbacks", "BackupAndRestore", "refused", "jobs go back to checkpoints of their own"),
    # ------------------------------------------------------------ arguments
    _row("compile()", "optimizer loss loss_weights", "works"),
    _row("compile()", "metrics weighted_metrics", "works", "in training and in evaluation; see below for several "
         "workers"),
    _row("compile()", "run_eagerly", "works, ordinary, refused, works"),
    _row("compile()", "steps_per_execution", "no effect", "speed, and how often callbacks are called"),
    _row("compile()", "jit_compile", "works, works, works, no effect", "`True`; see below for `--jit_compile`"),
    _row("compile()", "auto_scale_loss", "works, ordinary, refused, works"),
    _row("fit()", "x y validation_data", "own", "`--data`, `--validation_data`"),
    _row("fit()", "batch_size epochs shuffle class_weight", "own",
         "`--minibatch_size`, `--num_epochs`, `--shuffle`, `--class_weight`"),
    _row("fit()", "sample_weight", "own", "`--sample_weight_column`, or a third value of the input function"),
    _row("fit()", "callbacks", "own", "`callbacks()` of the module, or `--callbacks`"),
    _row("fit()", "steps_per_epoch validation_freq", "own", "`--max_step`, `--evaluation_steps`"),
    _row("fit()", "validation_split", "own", "`--validation_split`, with `--label`"),
    _row("fit()", "verbose initial_epoch validation_steps validation_batch_size", "-",
         "jobs have no such option"),
    _row("Layer()", "activity_regularizer trainable name dtype autocast", "works"),
    _row("add_weight()", "shape initializer dtype trainable autocast regularizer name aggregation "
         "overwrite_with_gradient", "works"),
    _row("add_weight()", "constraint", "works, works, refused, works"),
    _row("Optimizer()", "learning_rate weight_decay clipnorm clipvalue global_clipnorm name", "works",
         "rows of large embeddings decay when used; what is clipped is a step's mean; norms with grads_to_wait need "
         "num_ps=1"),
    _row("Optimizer()", "use_ema ema_momentum ema_overwrite_frequency gradient_accumulation_steps loss_scale_factor",
         "works, ordinary, refused, works"),
    _row("LossScaleOptimizer()", "inner_optimizer initial_scale dynamic_growth_steps name",
         "works, ordinary, refused, works"),
    _row("Loss()", "name dtype", "works"),
    _row("Loss()", "reduction", "works, works, works, refused", "all but `sum_over_batch_size` and `mean`, with "
         "several workers that make a step together, so also with grads_to_wait on servers"),
    _row("Metric()", "name dtype", "works"),
    _row("BatchNormalization()", "synchronized", "no effect, no effect, refused, refused",
         "refused with several workers"),
    _row("SpectralNormalization()", "layer power_iterations", "works, works, refused, refused", "refused with several "
         "workers, as is any layer that assigns its trained weights when called"),
)  # fmt: skip


def rows_of(owner: str) -> Iterator[Row]:
    """Yield the rows of an owner."""
    return (row for row in ROWS if row.owner == owner)


def table() -> str:
    """Return the rows as a table in Markdown."""
    lines = [
        "| of | what | Local | Local, large embeddings | parameter servers | all-reduce | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        names = ", ".join(f"`{name}`" for name in row.names)
        verdicts = " | ".join(WORDS[one] for one in (row.local, row.tables, row.servers, row.ring))
        lines.append(f"| {row.owner} | {names} | {verdicts} | {row.how} |")
    return "\n".join(lines) + "\n"
