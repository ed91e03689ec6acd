"""TRAIN: from a statement to a job."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elasticdl_nb.job.naming import make_name
from elasticdl_nb.runtime.spec.tableoptions import TableOptions
from elasticdl_nb.runtime.storage.publish import is_remote
from elasticdl_nb.sql.features.choosing import choose_inputs
from elasticdl_nb.sql.features.inputs import Inputs, as_they_are, those_of, with_table_options
from elasticdl_nb.sql.features.label import about_label
from elasticdl_nb.sql.features.matching import check_classes
from elasticdl_nb.sql.features.selection import Selection
from elasticdl_nb.sql.features.statistics import collect
from elasticdl_nb.sql.features.weighing import check_class_weights, check_weights, weight_column
from elasticdl_nb.sql.following.starting import Following, apart, follow
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.parser import one_query
from elasticdl_nb.sql.language.statements import Function, Name, Train, place_of
from elasticdl_nb.sql.models.attributes import Attributes, check_job, read_attributes
from elasticdl_nb.sql.models.finding import Model, find_model
from elasticdl_nb.sql.models.metricnames import check_metrics, metrics_option
from elasticdl_nb.sql.models.zoofolder import MODULE, code_place, write_zoo
from elasticdl_nb.sql.record.modelrecord import ModelRecord
from elasticdl_nb.sql.verbs.context import Context
from elasticdl_nb.tables.jsonfields import as_json
from elasticdl_nb.tables.kinds import family

if TYPE_CHECKING:
    from elasticdl_nb.given.fed import Fed
    from elasticdl_nb.job import Job
    from elasticdl_nb.sql.engines import Engine

_SAMPLE_WEIGHT = ("sample_weight", "sample_weight_column")


@dataclass(frozen=True)
class Training:
    """A checked TRAIN statement, with everything that its job needs.

    `rows` is what the statement selects, and `validation` what validation.select does. `query` returns what the job
    reads of `rows`: the columns in `columns`, in rows that have a `label` (empty if the model reads its own). `data`
    and `validation_data` are these parts of the rows, which were evaluated once. `output` is where the trained model
    will be. `begins_with` is the trained model that this one continues from, of which the job reads the rows of
    embeddings; the model takes its other weights itself, and all of them from an object store. A training that follows
    the query is `fed` with its rows instead.
    """

    model: Model
    record: ModelRecord
    rows: Selection
    validation: Selection | None
    columns: tuple[str, ...]
    label: str
    query: str
    data: Selection
    validation_data: Selection | None
    output: str
    into: str
    messages: tuple[str, ...] = ()
    begins_with: str = ""
    fed: Fed | None = None

    def options(self) -> dict[str, Any]:
        """Return the job's options, except its data and its zoo."""
        given: dict[str, Any] = {"params": dict(self.record.params), "output": self.output}
        if self.model.own_input:
            code = f"{self.record.module}.{self.record.class_name}"
            given["model_def"] = self.model.model_def or code
        else:
            given["model_def"] = f"{MODULE}.custom_model"
        given |= metrics_option(self.record.metrics)
        if self.begins_with:
            given["checkpoint_dir_for_init"] = self.begins_with
        if self.fed is not None:
            given["follow"] = True
        publishes = "publish_every" in self.record.job
        return {**given, "overwrite": not publishes, "job_name": make_name("train", self.into), **self.record.job}


def prepare(statement: Train, context: Context) -> Training:
    """Check a statement, ask the database what its features need, and change nothing.

    Raises SqlError, with its place, for anything that is wrong with the statement.
    """
    model = find_model(statement.model, context.namespace)
    output = context.store.location(statement.into)
    attributes = read_attributes(statement.attributes, "train", model)
    _check_loss(model, attributes, statement.model)
    held_back = {"validation_data": "x"} if attributes.validation_position else {}
    if attributes.follow:
        held_back["follow"] = "true"
        context = replace(context, engine=_engine_apart(attributes, context))
    check_job("train", attributes.job, model_def="x", data="x", output="x", **held_back)
    rows = context.select(statement.select, statement.select_position)
    rows = rows.as_it_is() if model.own_input else rows
    following = _following(statement, attributes, rows, context)
    validation = _validation(attributes, rows, context)
    weights, weighed = _weight_columns(attributes, rows, statement), place_of(statement, *_SAMPLE_WEIGHT)
    kept = context.kept([rows] if validation is None else [rows, validation])
    for column, selection in itertools.product(weights, kept):
        check_weights(column, selection, weighed)
    left_out = [*weights, *([following.watermark.column] if following else [])]
    features = {name: kind for name, kind in kept[0].kinds.items() if name not in left_out}
    inputs = _inputs(statement, model, replace(kept[0], kinds=features), attributes.params, context)
    if (options := TableOptions.of(**attributes.embedding)) is not None:
        if options.bounds is not None and options.bounds.min_count > 1:
            _refuse_no_count(statement)
        inputs = with_table_options(inputs, options, attributes.embedding_position)
    columns, label = [*inputs.columns, *weights], inputs.label.column if inputs.label else ""
    given = context.used_parameters(statement.text, attributes.validation_select)
    record = _record(statement, model, attributes, inputs, given)
    record = replace(record, watermark=following.watermark.column) if following else record
    check_metrics(attributes.metrics, attributes.metrics_position, record)
    check_class_weights(attributes.job.get("class_weight", {}), record.label, place_of(statement, "class_weight"))
    said = [*inputs.messages, *(following.messages if following else ())]
    if validation is not None and record.label is not None:
        check_classes(kept[1], record.label)
        said += about_label(kept[1], label, collect(kept[1], [label], [])[label])
    # The columns of both queries are read in the types of the training query.
    read = [_read(selection, kept[0], columns, label) for selection in kept]
    return Training(
        model, record, rows, validation, tuple(columns), label, _read(rows, kept[0], columns, label).query, read[0],
        read[1] if validation is not None else None, output, statement.into.text, tuple(said),
        _begins_with(statement, attributes, context),
        following.fed(columns, record.label, weights, kept[0], own_input=model.own_input) if following else None,
    )  # fmt: skip


def _engine_apart(attributes: Attributes, context: Context) -> Engine:
    """Return the engine that a training reads from which follows its query: what the job's own process will see."""
    engine = apart(context.engine, attributes.follow_position)
    context.cleanup.callback(engine.close)
    return engine


def _following(statement: Train, attributes: Attributes, rows: Selection, context: Context) -> Following | None:
    """Return what the statement follows, if it does; raise SqlError if its query cannot be followed."""
    if not attributes.follow:
        return None
    if "checkpoint_dir_for_init" in attributes.job:
        place = place_of(statement, "checkpoint_dir_for_init")
        raise SqlError("a training with train.follow goes on from a stored model (USING), not from a checkpoint", place)
    if "publish_every" in attributes.job:
        place = place_of(statement, "publish_every")
        raise SqlError(
            "a training with train.follow writes its model when it ends; leave train.publish_every out", place
        )
    former = None if statement.warm_start is None else context.store.find(statement.warm_start)
    return follow(rows, attributes.follow, attributes.follow_delay, attributes.follow_position, former)


def _begins_with(statement: Train, attributes: Attributes, context: Context) -> str:
    """Return the path of the trained model that this one continues from, or "" if it is in an object store."""
    if (name := statement.warm_start) is None:
        return ""
    former = context.store.find(name)
    if former.message.tables and is_remote(former.path):
        raise SqlError(f"{name} keeps its tables in files: continue it in a store on this machine", name.position)
    if "checkpoint_dir_for_init" in attributes.job:
        place = place_of(statement, "checkpoint_dir_for_init") or name.position
        raise SqlError(f"a model that continues from {name} begins with its weights, not with a checkpoint", place)
    return "" if is_remote(former.path) else former.path


def _read(rows: Selection, first: Selection, columns: list[str], label: str) -> Selection:
    """Return what the job reads of these rows, in the types of the training query, `first`."""
    return replace(rows, kinds=first.kinds).part(columns, label)


def _refuse_no_count(statement: Train) -> None:
    """Raise SqlError for min_count=1 of one embedding, where all others have another: no record could say it."""
    for one in (item for columns in statement.columns for item in columns.items if isinstance(item, Function)):
        for argument in one.named:
            if argument.key == "min_count" and argument.value == 1:
                raise SqlError(
                    "min_count=1 does not go together with train.embedding.min_count; leave that out, and say "
                    "min_count of the other embeddings",
                    argument.position,
                )


def _inputs(statement: Train, model: Model, rows: Selection, params: Mapping[str, Any], context: Context) -> Inputs:
    if model.own_input:
        return as_they_are(statement, model, rows, params)
    if statement.warm_start is not None:
        former = context.store.find(statement.warm_start)
        return those_of(former, statement.warm_start, statement, rows, params)
    return choose_inputs(statement, model, rows, params)


def _weight_columns(attributes: Attributes, rows: Selection, statement: Train) -> list[str]:
    """Return the column that train.sample_weight names, if any, as the query writes it; it is no feature."""
    name = attributes.job.get("sample_weight_column")
    if not name:
        return []
    attributes.job["sample_weight_column"] = weight_column(name, rows, place_of(statement, *_SAMPLE_WEIGHT))
    return [attributes.job["sample_weight_column"]]


def _check_loss(model: Model, attributes: Attributes, name: Name) -> None:
    if model.value is None or attributes.loss.name:
        return
    if not hasattr(model.value, "default_loss"):
        raise SqlError(f"{model.name} has no default_loss; define one, or name a loss: WITH loss='mse'", name.position)


def _validation(attributes: Attributes, rows: Selection, context: Context) -> Selection | None:
    """Return the rows of validation.select, if given; raise SqlError if they are not like those of training."""
    what, place = "validation.select", attributes.validation_position
    if place is None:
        return None
    try:
        validation = context.select(one_query(attributes.validation_select, context.engine.dialect), None, what)
    except SqlError as error:
        raise SqlError(f"{what}: {error.problem}", place) from None
    missing = [name for name in rows.kinds if name not in validation.kinds]
    if missing:
        raise SqlError(f"{what} has no column {missing[0]!r}, but the training query has", place)
    for name, trained in rows.kinds.items():
        kind = validation.kinds[name]
        if family(kind) != family(trained) and "empty" not in (kind, trained):
            raise SqlError(f"{name!r} is {kind} in {what}, but {trained} in the training query", place)
    return replace(validation, position=place)


def _record(
    statement: Train, model: Model, attributes: Attributes, inputs: Inputs, given: Mapping[str, Any]
) -> ModelRecord:
    """Return what is kept with the model."""
    module, class_name = code_place(model)
    return ModelRecord(
        statement=statement.text, model=model.name, module=module, class_name=class_name, own_input=model.own_input,
        params=inputs.params, job=attributes.job, optimizer=attributes.optimizer, loss=attributes.loss,
        metrics=tuple(attributes.metrics), kinds=inputs.kinds, label=inputs.label, features=inputs.features,
        described=inputs.described, initial=inputs.initial,
        given={name: as_json(value) for name, value in given.items()},
    )  # fmt: skip


# ------------------------------------------------------------------ the job


def run(training: Training, context: Context) -> Job:
    """Pull the rows and start the job, which puts the model into the store when it ends; wait if `context.wait`."""
    from elasticdl_nb.job.starting import start_job

    with tempfile.TemporaryDirectory(prefix="elasticdl-sql-") as folder:
        write_zoo(training.model, training.record, Path(folder))
        given = training.options()
        given["data"] = training.fed or training.data.stream()
        if training.validation_data is not None:
            given["validation_data"] = training.validation_data.stream()
        job = start_job("train", {"model_zoo": folder, **given}, wait=False)
    if training.fed is not None:  # others must be able to write to the database
        context.cleanup.close()
        context.engine.let_go()
    if context.on_job is not None:
        context.on_job(job)
    return job.wait() if context.wait else job
