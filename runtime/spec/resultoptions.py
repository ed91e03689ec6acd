"""The options that say what a job writes: trained model, predictions, checkpoints. `JobSpec` inherits them."""

from __future__ import annotations

from dataclasses import dataclass

from elasticdl_nb.runtime.spec import forms
from elasticdl_nb.runtime.spec.option import option
from elasticdl_nb.runtime.spec.rhythm import rhythm

ON_NAN = ("stop", "warn")
TABLE_DTYPES = ("float32", "bfloat16", "int8")


@dataclass(frozen=True, kw_only=True)
class ResultOptions:
    """See the module's docstring."""

    # ------------------------------------------------------------ results
    output: str = option(
        "Where to write the result: training writes a directory with the trained model; prediction writes a .recordio, "
        ".parquet or .csv file, or a directory (one part per task). By default, it is in the job's folder.",
        group="Result", parse=forms.path, form="PATH", jobs=("train", "predict"),
    )  # fmt: skip
    output_format: str = option(
        "Format of the parts when a prediction's output is a directory.",
        group="Result", parse=forms.one_of(("parquet", "csv", "recordio")), form="FORM", default="parquet",
        jobs=("predict",), choices=("parquet", "csv", "recordio"),
    )  # fmt: skip
    overwrite: bool = option(
        "Replace an existing output, once the new one is complete.",
        group="Result", parse=forms.switch, form="BOOL", default=False, jobs=("train", "predict"),
    )  # fmt: skip
    table_files_mb: int = option(
        "Size in megabytes from which an embedding of the trained model is kept as files, which are read where they "
        "are instead of being loaded; smaller ones are ordinary layers.",
        group="Result", parse=forms.whole(0), form="N", default=512, jobs=("train",),
    )  # fmt: skip
    table_files_dtype: str = option(
        "How these files keep values: bfloat16 takes half the space of float32, int8 (with a factor for each row) "
        "about a quarter. Rows that train as bfloat16 never become float32 files.",
        group="Result", parse=forms.one_of(TABLE_DTYPES), form="TYPE", default="float32", choices=TABLE_DTYPES,
        jobs=("train",),
    )  # fmt: skip
    saved_model: bool = option(
        "Also export a TensorFlow SavedModel (for serving) into the output's saved_model/.",
        group="Result", parse=forms.switch, form="BOOL", default=True, jobs=("train",),
    )  # fmt: skip
    publish_every: str = option(
        "While the job trains, write a version of its model this often, and number them: OUTPUT/1, OUTPUT/2, … A time "
        "(60s, 10m, 1h) or a number of records ('10000 records'). The trained model is the last version.",
        group="Result", parse=rhythm, form="TIME|N records", jobs=("train",),
    )  # fmt: skip
    keep_published: int = option(
        "How many of these versions to keep; 0 for all.",
        group="Result", parse=forms.whole(0), form="N", default=3, jobs=("train",),
    )  # fmt: skip
    evaluation_steps: int = option(
        "Steps between evaluations on the validation data, which is also evaluated at the end; 0 for once an epoch.",
        group="Result", parse=forms.whole(0), form="N", default=0, jobs=("train",),
    )  # fmt: skip
    log_loss_steps: int = option(
        "Steps between reports of the loss; 0 for a few reports a second.",
        group="Result", parse=forms.whole(0), form="N", default=0, jobs=("train",),
    )  # fmt: skip
    on_nan: str = option(
        "What to do when the loss is not a finite number any more: stop, and fail the job, or warn, and go on.",
        group="Result", parse=forms.one_of(ON_NAN), form="WHAT", default="stop", choices=ON_NAN, jobs=("train",),
    )  # fmt: skip

    # ------------------------------------------------------------ checkpoints
    checkpoint_steps: int = option(
        "Steps between checkpoints; 0 for one about every 30 seconds.",
        group="Checkpoints", parse=forms.whole(0), form="N", default=0, jobs=("train",),
    )  # fmt: skip
    checkpoint_deltas: int = option(
        "How many checkpoints in a row may hold only what has changed since the one before, as far as embeddings in "
        "tables are concerned; 0 for none.",
        group="Checkpoints", parse=forms.whole(0), form="N", default=30, jobs=("train",),
    )  # fmt: skip
    checkpoint_delta_mb: int = option(
        "Size in megabytes of a server's (or a Local job's) tables from which there are such checkpoints.",
        group="Checkpoints", parse=forms.whole(0), form="N", default=64, jobs=("train",),
    )  # fmt: skip
    checkpoint_dir: str = option(
        "Where to write checkpoints; by default in the job's folder.",
        group="Checkpoints", parse=forms.path, form="DIR", jobs=("train",),
    )  # fmt: skip
    keep_checkpoint_max: int = option(
        "How many checkpoints to keep; 0 for all.",
        group="Checkpoints", parse=forms.whole(0), form="N", default=3, jobs=("train",),
    )  # fmt: skip
    checkpoint_dir_for_init: str = option(
        "Start from the model and optimizer of the last checkpoint in this directory, or of this checkpoint, by any "
        "strategy; or from the weights of a trained model, the output of a job.",
        group="Checkpoints", parse=forms.path, form="DIR", jobs=("train",),
        aliases={"train": ("trained_model_for_init",)},
    )  # fmt: skip
