"""The options that say what a job reads, and in which batches and order. `JobSpec` inherits them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elasticdl_nb.runtime.spec import forms
from elasticdl_nb.runtime.spec.option import option


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """See the module's docstring."""

    data: tuple[str, ...] = option(
        "The data: a path, glob or URL, or several (RecordIO, TFRecord, CSV, Parquet, Arrow), or a Kafka topic "
        "(kafka://HOST:PORT/TOPIC).",
        group="Data", parse=forms.paths, form="PATH[,PATH…]", default=(), required=True,
        aliases={"train": ("training_data",), "evaluate": ("validation_data",), "predict": ("prediction_data",)},
    )  # fmt: skip
    validation_data: tuple[str, ...] = option(
        "Files to evaluate on during training and at its end.",
        group="Data", parse=forms.paths, form="PATH[,PATH…]", default=(), jobs=("train",),
    )  # fmt: skip
    sample_weight_column: str = option(
        "Column with each record's weight in the loss and in the weighted metrics. The input function does not see it.",
        group="Data", parse=forms.column, form="NAME", jobs=("train", "evaluate"),
    )  # fmt: skip
    class_weight: dict[str, float] = option(
        'The weights of classes in the loss, by number: "0=1,1=5"; for a job with a label also by name: "no=1,yes=5". '
        "Other classes weigh 1.",
        group="Data", parse=forms.class_weights, form="N=W,N=W", default={}, jobs=("train",),
    )  # fmt: skip
    label: str = option(
        "The column to predict. The other columns become the model's inputs, so it needs no input function: see "
        "docs/frames.md.",
        group="Data", parse=forms.column, form="COLUMN", jobs=("train",),
    )  # fmt: skip
    features: tuple[str, ...] = option(
        "The columns to predict the label from; by default, all others that can be used.",
        group="Data", parse=forms.names, form="COLUMN[,COLUMN…]", default=(), jobs=("train",),
    )  # fmt: skip
    validation_split: float = option(
        "The share of the records, chosen at random, to evaluate on instead of training on them, such as 0.2.",
        group="Data", parse=forms.share, form="SHARE", default=0.0, jobs=("train",),
    )  # fmt: skip
    data_reader_params: dict[str, Any] = option(
        "How to read the data: \"columns=['a', 'b']; sep=','\". See docs/data.md.",
        group="Data", parse=forms.arguments, form="ARGS", default={},
    )  # fmt: skip
    minibatch_size: int = option(
        "Records per batch.", group="Data", parse=forms.whole(1), form="N", default=64,
    )  # fmt: skip
    num_minibatches_per_task: int = option(
        "Batches per task, the piece of work that one worker takes at a time.",
        group="Data", parse=forms.whole(1), form="N", default=32,
    )  # fmt: skip
    num_epochs: int = option(
        "How often to use every record.", group="Data", parse=forms.whole(1), form="N", default=1, jobs=("train",),
    )  # fmt: skip
    follow: bool = option(
        "Train on the files of the data's directories or globs, and on those that appear there while the job runs: "
        "each once, in the order in which they come, until `elasticdl stop` ends the job with a trained model. Or on "
        "the records of a Kafka topic, and on those that are added to it.",
        group="Data", parse=forms.switch, form="BOOL", default=False, jobs=("train",),
        aliases={"train": ("continuous",)},
    )  # fmt: skip
    max_step: int = option(
        "Stop after this many steps (batches), even if epochs remain; 0 for no limit.",
        group="Data", parse=forms.whole(0), form="N", default=0, jobs=("train",), aliases={"train": ("max_steps",)},
    )  # fmt: skip
    shuffle: bool = option(
        "Hand out each epoch's tasks in a different order, and shuffle the records within each task.",
        group="Data", parse=forms.switch, form="BOOL", default=True, jobs=("train",),
    )  # fmt: skip
    seed: int = option(
        "Seed for everything random. The same seed and data give the same model on a single worker, and on a fixed "
        "number of workers with AllreduceStrategy.",
        group="Data", parse=forms.whole(0), form="N", default=0, jobs=("train",),
    )  # fmt: skip
