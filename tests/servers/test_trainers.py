"""Trainers over tables: what they learn, their checkpoints, and what they leave."""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from served_models import FORM, NAMES, ROWS, batches, loaded

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.embeddings.asking import attend
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers
from elasticdl_nb.runtime.model.saving.beginning import checkpoint_of
from elasticdl_nb.runtime.model.saving.trained import write_trained_model
from elasticdl_nb.runtime.parameters.checkpoints import deltas
from elasticdl_nb.runtime.parameters.store import UpdatePolicy
from elasticdl_nb.runtime.protocol.master_pb2 import Border, Task
from elasticdl_nb.runtime.ps.inprocess import InProcessServers
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage import checkpoints as folders
from elasticdl_nb.runtime.worker.orders import TaskVoid
from elasticdl_nb.runtime.worker.training.base import Trainer
from elasticdl_nb.runtime.worker.training.local import LocalTrainer
from elasticdl_nb.runtime.worker.training.servers import ServerTrainer
from elasticdl_nb.runtime.worker.training.tables import TableTrainer, tables_misfit
from elasticdl_nb.runtime.worker.training.workercheckpoint import note_on_start

OPTIMIZERS = [
    {"class_name": "SGD", "config": {"learning_rate": 0.1}},
    {"class_name": "SGD", "config": {"learning_rate": 0.1, "global_clipnorm": 0.05}},
    {"class_name": "Adagrad", "config": {"learning_rate": 0.1}},
]
ADAM = {"class_name": "Adam", "config": {"learning_rate": 0.01}}


class Notes:
    """A session with a master, which keeps what a trainer says."""

    generation = 0

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps = 0

    def note(self, level: str, text: str) -> None:
        self.notes.append(text)

    def progress(self, step: int, records: int) -> None:
        self.steps += 1

    def loss(self, step: int, value: float) -> None:
        assert np.isfinite(value)


_indices = itertools.count()


def a_task() -> Task:
    """Another task of an epoch: servers know which of one's records they have used."""
    return Task(index=next(_indices))


def spec(**options: Any) -> JobSpec:
    return JobSpec(kind="train", model_def="embedded", **options)


def ignore(step: int, loss: float) -> None:
    pass


def with_optimizer(model: Any, config: dict[str, Any]) -> None:
    model._module.OPTIMIZER = config


def table_trainer(zoo: Path, name: str, config: dict[str, Any] = OPTIMIZERS[0]) -> TableTrainer:
    layers = ServedLayers(threshold=1, seed=3)
    model = loaded(zoo, name, layers)
    with_optimizer(model, config)
    return TableTrainer(spec(checkpoint_delta_mb=0), model, Notes(), FORM, ignore, layers)  # type: ignore[arg-type]


def server_trainer(zoo: Path, name: str, servers: Any, **options: Any) -> ServerTrainer:
    layers = ServedLayers(threshold=1, seed=3)
    model = loaded(zoo, name, layers)
    with_optimizer(model, options.pop("optimizer", OPTIMIZERS[0]))
    trainer = ServerTrainer(spec(**options), model, Notes(), FORM, ignore, layers)  # type: ignore[arg-type]
    trainer.connect(servers, 0)
    return trainer


def plain_trainer(zoo: Path, name: str, config: dict[str, Any]) -> LocalTrainer:
    """A trainer of ordinary layers that start with the rows that tables start with."""
    layers = ServedLayers(threshold=1, seed=3)
    model = loaded(zoo, name, layers)
    with_optimizer(model, config)
    layers.unserve()
    trainer = LocalTrainer(spec(), model, Notes(), FORM, ignore)  # type: ignore[arg-type]
    apply = trainer.optimizer.apply
    # Keras treats an id that comes twice in a batch as two gradients where it squares them; a table sums them first.
    trainer.optimizer.apply = lambda gradients, variables: apply(
        [tf.convert_to_tensor(g) for g in gradients], variables
    )
    return trainer


def weights(trainer: Trainer) -> list[np.ndarray]:
    trainer.finish()
    return [variable.numpy() for variable in trainer.model.weights]


def assert_close(mine: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-5)


def test_batches_are_tested_with_the_model_that_learns_them(embedded_zoo: Path) -> None:
    servers = InProcessServers()
    trainer = server_trainer(embedded_zoo, NAMES[0], servers, use_async=False, prequential=True)
    versions = []

    class Tested:
        def test(self, batch: Any) -> None:
            dense, version = servers.pull()
            versions.append(version)
            for name, variable in trainer._trainable.items():
                np.testing.assert_array_equal(variable, dense[name])

    trainer.tested = Tested()  # type: ignore[assignment]
    trainer.train(a_task(), batches(4))
    assert versions == [0, 1, 2, 3]


@pytest.mark.parametrize("config", OPTIMIZERS, ids=lambda config: "-".join([config["class_name"], *config["config"]]))
@pytest.mark.parametrize("name", NAMES)
def test_tables_learn_what_keras_learns(embedded_zoo: Path, name: str, config: dict[str, Any]) -> None:
    mine, plain = table_trainer(embedded_zoo, name, config), plain_trainer(embedded_zoo, name, config)
    for trainer in (mine, plain):
        assert trainer.train(a_task(), batches(8)) == 8 * 16
    assert mine.step == 8 == int(mine.optimizer.iterations)
    assert_close(weights(mine), weights(plain))


@pytest.mark.parametrize("options", [{"use_async": False}, {}], ids=["synchronous", "asynchronous"])
@pytest.mark.parametrize("config", OPTIMIZERS[:2], ids=["plain", "clipped"])
def test_servers_learn_what_keras_learns(embedded_zoo: Path, options: dict[str, Any], config: dict[str, Any]) -> None:
    policy = UpdatePolicy(grads_to_wait=0 if options == {} else 1)
    mine = server_trainer(embedded_zoo, "functional", InProcessServers(policy), optimizer=config, **options)
    plain = plain_trainer(embedded_zoo, "functional", config)
    data = list(batches(8))
    for one in data if options == {} else [None]:  # an asynchronous step sees the one before only in the next task
        for trainer in (mine, plain):
            trainer.train(a_task(), iter([one] if one else data))
    assert mine.step == 8
    assert_close(weights(mine), weights(plain))


@pytest.mark.parametrize(
    ("optimizer", "clipping"),
    [("Adam", {}), ("Adamax", {}), ("RMSprop", {"clipnorm": 0.01}), ("Adagrad", {"global_clipnorm": 0.02}),
     ("Adam", {"clipvalue": 0.002}), ("Lamb", {})],
)  # fmt: skip
def test_ordinary_embeddings_learn_on_servers_what_keras_learns(
    embedded_zoo: Path, optimizer: str, clipping: dict[str, float]
) -> None:
    config = {"class_name": optimizer, "config": {"learning_rate": 0.01, **clipping}}
    trainers: list[Trainer] = []
    for servers in (True, False):
        keras.utils.set_random_seed(1)
        model = loaded(embedded_zoo, "functional", layers := ServedLayers(threshold=1 << 30))
        with_optimizer(model, config)
        shared = (spec(use_async=False), model, Notes(), FORM, ignore)
        trainer = ServerTrainer(*shared, layers) if servers else LocalTrainer(*shared)  # type: ignore[arg-type]
        if optimizer == "Lamb":  # without a kernel
            assert "count once in the squares of Lamb" in trainer._session.notes[0]  # type: ignore[attr-defined]
            return
        if isinstance(trainer, ServerTrainer):
            assert not trainer._session.notes  # type: ignore[attr-defined]
            trainer.connect(InProcessServers(UpdatePolicy(grads_to_wait=1)), 0)
        few = [({name: ids % 3 for name, ids in x.items()}, y) for x, y in batches(6)]  # so that ids occur often
        trainer.train(a_task(), iter(few))
        trainers.append(trainer)
    for mine, other in zip(*map(weights, trainers), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)


class _MallInfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t) for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"
        )
    ]  # fmt: skip


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="only glibc says how much memory is in use")
def test_nothing_is_kept_of_the_values_of_earlier_steps(embedded_zoo: Path) -> None:
    library = ctypes.CDLL(None)
    library.mallinfo2.restype = _MallInfo
    servers = InProcessServers()
    trainer = server_trainer(embedded_zoo, "functional", servers)
    dense, _ = servers.pull()
    used = []
    for round in range(2):
        for version in range(3000):
            trainer._at(3000 * round + version, dense)
        gc.collect()
        used.append(library.mallinfo2().uordblks)
    assert (used[1] - used[0]) / 3000 < 200, "bytes for each step"
    assert int(trainer._values[1]) == 5999


class Late(InProcessServers):
    """Says at the first step that it came too late: others were faster."""

    late = True

    def step(self, request: Any) -> Any:
        late, self.late = self.late, False
        if not late:
            return super().step(request)
        return dataclasses.replace(self.fetch(request.lookup).result(), accepted=False)


@pytest.mark.parametrize("kind", ["tables", "synchronous", "asynchronous"])
def test_training_measures_what_fit_measures(embedded_zoo: Path, kind: str) -> None:
    rate = 0.0 if kind == "asynchronous" else 0.1  # asynchronous steps use older values
    config = {"class_name": "SGD", "config": {"learning_rate": rate}}

    def make(layers: ServedLayers) -> Any:
        model = loaded(embedded_zoo, "functional", layers)
        with_optimizer(model, config)
        compile_only = model.compile

        def compile_with_metrics() -> None:
            compile_only()
            model.model.compile(
                model.model.optimizer, model.model.loss, metrics=["mae", keras.metrics.RootMeanSquaredError("rmse")]
            )

        model.compile = compile_with_metrics
        return model

    layers = ServedLayers(threshold=1, seed=3)
    model = make(layers)
    if kind == "tables":
        mine: Any = TableTrainer(spec(), model, Notes(), FORM, ignore, layers)  # type: ignore[arg-type]
    else:
        options = {"use_async": kind == "asynchronous"}
        mine = ServerTrainer(spec(**options), model, Notes(), FORM, ignore, layers)  # type: ignore[arg-type]
        mine.connect(Late(UpdatePolicy(grads_to_wait=0 if options["use_async"] else 1)), 0)
    ordinary = ServedLayers(threshold=1, seed=3)
    plain = make(ordinary)
    ordinary.unserve()
    plain.compile()
    for epoch in (0, 1):
        data = list(batches(5, seed=epoch))
        mine.train(Task(epoch=epoch, index=epoch), iter(data))
        fitted = plain.model.fit((one for one in data), epochs=1, steps_per_epoch=len(data), verbose=0).history
        expected = {name: values[0] for name, values in fitted.items()}
        assert set(expected) == {"loss", "mae", "rmse"}
        assert dict(mine.so_far().logs) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["tables", "servers"])
@pytest.mark.parametrize("how", ["set_weights", "assign", "model"])
def test_rows_that_a_callback_sets_are_refused(embedded_zoo: Path, tmp_path: Path, kind: str, how: str) -> None:
    class Sets(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            layer = next(one for one in self.model.layers if isinstance(one, keras.layers.Embedding))
            if how == "set_weights":
                layer.set_weights([np.zeros((ROWS, 8), np.float32)])
            elif how == "assign":
                assert np.asarray(layer.embeddings).shape == (ROWS, 8)
                layer.embeddings.assign(np.zeros((ROWS, 8), np.float32))
            else:
                self.model.set_weights([np.zeros_like(one) for one in self.model.get_weights()])

    layers = ServedLayers(threshold=1, seed=3)
    model = loaded(embedded_zoo, "functional", layers)
    with_optimizer(model, OPTIMIZERS[0])
    model.callbacks = lambda: [Sets()]  # type: ignore[method-assign]
    given = (spec(), model, Notes(), FORM, ignore, layers)
    trainer = (TableTrainer if kind == "tables" else ServerTrainer)(*given)  # type: ignore[arg-type]
    if isinstance(trainer, ServerTrainer):
        trainer.connect(InProcessServers(), 0)
    attend(layers, model.model)
    trainer.callbacks.folder = tmp_path
    trainer.at_border(Border(here=True, next="0"))
    trainer.train(Task(), batches(2))
    with pytest.raises(ModelError, match="its weights cannot be set during training, because its rows are in tables"):
        trainer.at_border(Border(number=1, state="0", here=True, next="1"))


def test_asynchronous_training_looks_ahead_and_still_learns(embedded_zoo: Path) -> None:
    trainer = server_trainer(embedded_zoo, "Subclassed", InProcessServers(), get_model_steps=3)
    losses: list[float] = []
    trainer._on_loss = lambda step, loss: losses.append(loss)
    for epoch in range(6):
        trainer.train(Task(epoch=epoch), batches(12))
        trainer.report_loss()
    assert trainer.step == 72
    assert losses[-1] < 0.8 * losses[0]


def test_rejected_gradients_are_computed_again(embedded_zoo: Path) -> None:
    servers = InProcessServers(UpdatePolicy(grads_to_wait=1))
    one, other = (server_trainer(embedded_zoo, "functional", servers, use_async=False) for _ in range(2))

    def interrupted() -> Any:
        for number, batch in enumerate(batches(4)):
            yield batch
            if number == 1:
                other.train(a_task(), batches(3, seed=1))

    assert one.train(a_task(), interrupted()) == 4 * 16
    assert one.step == 4 + 3


def test_a_worker_that_comes_later_takes_over_the_servers_values(embedded_zoo: Path) -> None:
    servers = InProcessServers()
    first = server_trainer(embedded_zoo, "Subclassed", servers)
    first.train(a_task(), batches(3))
    second = server_trainer(embedded_zoo, "Subclassed", servers)
    assert second.step == 3
    assert_close([v.numpy() for v in second.model.weights], [v.numpy() for v in first.model.weights])


def test_a_job_that_goes_back_to_its_beginning_begins_with_untrained_values(embedded_zoo: Path) -> None:
    trainer = server_trainer(embedded_zoo, "Subclassed", InProcessServers())
    untrained = [v.numpy() for v in trainer.model.weights]
    trainer.train(a_task(), batches(3))
    assert any((v.numpy() != before).any() for v, before in zip(trainer.model.weights, untrained, strict=True))
    trainer.connect(InProcessServers(), 1)  # in place of those that have died without a checkpoint
    for variable, before in zip(trainer.model.weights, untrained, strict=True):
        np.testing.assert_array_equal(variable.numpy(), before)


def test_gradients_say_from_which_version_they_were_computed(embedded_zoo: Path) -> None:
    servers, pushed = InProcessServers(), []
    trainer = server_trainer(embedded_zoo, "Subclassed", servers)
    compute, step = trainer._compute, servers.step_async

    def computed(batch: Any) -> Any:
        pushed.append(trainer.step)
        return compute(batch)

    def stepped(request: Any) -> Any:
        if request.push is not None:
            assert request.push.version == pushed[-1]
        return step(request)

    trainer._compute, servers.step_async = computed, stepped  # type: ignore[method-assign]
    trainer.train(a_task(), batches(5))
    assert pushed == [0, 0, 1, 2, 3]


def test_a_task_from_before_the_job_went_back_has_no_effect_and_a_task_in_two_hands_has_one(embedded_zoo: Path) -> None:
    servers = InProcessServers()
    trainer = server_trainer(embedded_zoo, "Subclassed", servers)
    trainer.connect(servers, 2)
    void, current = Task(index=next(_indices), generation=1), Task(index=next(_indices), generation=2)
    with pytest.raises(TaskVoid):
        trainer.train(void, batches(3))
    assert servers.pull()[1] == 0
    assert trainer.train(current, batches(3)) == 3 * 16
    after, version = servers.pull()
    assert version == 3

    late = server_trainer(embedded_zoo, "Subclassed", servers)
    late.connect(servers, 2)
    assert late.train(current, batches(3)) == 3 * 16  # whoever reports it
    again, version = servers.pull()
    assert version == 3
    for name, value in after.items():
        np.testing.assert_array_equal(again[name], value)


@pytest.mark.parametrize("rate", ["schedule", "own schedule", "callback"])
def test_servers_follow_the_learning_rate(embedded_zoo: Path, rate: str) -> None:
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.1, 0.0])
    if rate == "own schedule":

        class Own(keras.optimizers.schedules.LearningRateSchedule):
            def __call__(self, step: Any) -> Any:
                return tf.where(tf.cast(step, tf.int32) > 1, 0.0, 0.1)

            def get_config(self) -> dict[str, Any]:
                return {}

        schedule = Own()
    layers = ServedLayers(threshold=1, seed=3)
    model = loaded(embedded_zoo, "functional", layers)
    model.make_optimizer = lambda: keras.optimizers.SGD(0.1 if rate == "callback" else schedule)  # type: ignore[method-assign]
    trainer = ServerTrainer(spec(use_async=False), model, Notes(), FORM, ignore, layers)  # type: ignore[arg-type]
    trainer.connect(InProcessServers(UpdatePolicy(grads_to_wait=1)), 0)
    trainer.train(a_task(), batches(2))
    before = [layer.matrix() for layer in layers.layers] + [v.numpy() for v in trainer.model.weights]
    if rate == "callback":
        trainer.optimizer.learning_rate = 0.0
    trainer.train(a_task(), batches(2, seed=4))
    after = [layer.matrix() for layer in layers.layers] + [v.numpy() for v in trainer.model.weights]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert trainer.step == 4


def test_a_checkpoint_holds_tables_and_goes_on_as_if_nothing_had_been(embedded_zoo: Path, tmp_path: Path) -> None:
    config = {"class_name": "Adam", "config": {"learning_rate": 0.01}}
    first = table_trainer(embedded_zoo, "Subclassed", config)
    first.train(a_task(), batches(5))
    saved = first.save(tmp_path, "job")
    first.train(a_task(), batches(5, seed=2))
    second = table_trainer(embedded_zoo, "Subclassed", config)
    second.restore(str(saved), keep_step=True)
    assert second.step == 5
    second.train(a_task(), batches(5, seed=2))
    for one, other in zip(weights(first), weights(second), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("config", [ADAM, OPTIMIZERS[2]], ids=["Adam", "Adagrad"])
def test_a_checkpoint_of_servers_goes_on_in_one_process_and_back(
    embedded_zoo: Path, tmp_path: Path, config: dict[str, Any]
) -> None:
    servers = InProcessServers(UpdatePolicy(grads_to_wait=1))
    served = server_trainer(embedded_zoo, "functional", servers, optimizer=config, use_async=False)
    served.train(a_task(), batches(5))
    path = folders.begin(tmp_path, 5, "job")
    servers.save(path)
    folders.seal(path, 5, "job")

    alone = table_trainer(embedded_zoo, "functional", config)
    alone.restore(str(path), keep_step=False)
    assert int(alone.optimizer.iterations) == 5
    # On whole matrices Keras' Adam changes rows that a batch does not have.
    others = [plain_trainer(embedded_zoo, "functional", config)] if config != ADAM else []
    for plain in others:
        plain.restore(str(path), keep_step=False)
    for trainer in (served, alone, *others):
        trainer.train(a_task(), batches(3, seed=2))

    back = InProcessServers(UpdatePolicy(grads_to_wait=1))
    back.restore(alone.save(tmp_path, "job"), keep_version=False)
    again = server_trainer(embedded_zoo, "functional", back, optimizer=config, use_async=False)
    assert again.step == 0
    for trainer in (served, alone, again, *others):
        trainer.train(a_task(), batches(3, seed=3))
    expected = weights(served)
    for trainer in (alone, again, *others):
        assert_close(weights(trainer), expected)


KINDS = ("tables", "ordinary", "servers")


def a_trainer(zoo: Path, kind: str, start: Path | None = None) -> tuple[Any, Any]:
    """A trainer of the same model in one of three strategies, perhaps from a checkpoint, and its servers."""
    config = OPTIMIZERS[2]
    if kind == "servers":
        servers = InProcessServers(UpdatePolicy(grads_to_wait=1), deltas=deltas.Deltas(3))
        if start is not None:
            servers.restore(start, keep_version=False)
        return server_trainer(zoo, "functional", servers, optimizer=config, use_async=False), servers
    make = table_trainer if kind == "tables" else plain_trainer
    trainer = make(zoo, "functional", config)
    if start is not None:
        trainer.restore(str(start), keep_step=False)
    return trainer, None


def saved(trainer: Any, servers: Any, folder: Path) -> Path:
    if servers is None:
        return Path(trainer.save(folder, "job"))
    path = folders.begin(folder, 3, "job")
    servers.save(path)
    folders.seal(path, 3, "job")
    return path


def test_a_checkpoint_of_any_strategy_goes_on_in_any(
    embedded_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are tables, the checkpoint is one of what has changed."""
    monkeypatch.setattr(deltas, "SHARE", 9.0)
    whole, _ = a_trainer(embedded_zoo, "tables")
    whole.train(a_task(), batches(3))
    whole.train(a_task(), batches(3, seed=2))
    expected = weights(whole)
    for one in KINDS:
        trainer, servers = a_trainer(embedded_zoo, one)
        first, second, third = batches(3)
        trainer.train(a_task(), iter([first, second]))
        saved(trainer, servers, tmp_path)
        trainer.train(a_task(), iter([third]))
        checkpoint = saved(trainer, servers, tmp_path)
        assert (checkpoint / "server-0-of-1.delta-1.ps").exists() == (one != "ordinary")
        for other in KINDS:
            going_on, _ = a_trainer(embedded_zoo, other, checkpoint)
            going_on.train(a_task(), batches(3, seed=2))
            assert_close(weights(going_on), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_model_is_a_start_also_for_a_model_that_has_grown(
    embedded_zoo: Path, tmp_path: Path, kind: str
) -> None:
    first = table_trainer(embedded_zoo, "functional")
    first.train(a_task(), batches(3))
    before = weights(first)
    write_trained_model(
        tmp_path / "trained", spec=spec(), loaded=first._loaded, zoo=str(embedded_zoo), metrics={}, step=3,
        job_name="j", saved_model=False,
    )  # fmt: skip
    start = checkpoint_of(str(tmp_path / "trained"), tmp_path / "start", "job")
    trainer, _ = a_trainer(embedded_zoo, kind, start)
    tables = ["first", "second"] if kind != "ordinary" else []
    assert note_on_start(start, trainer.model, tables).endswith("with a new optimizer")
    assert_close(weights(trainer), before)

    grown = ServedLayers(threshold=1, seed=3)
    larger = loaded(embedded_zoo, "grown", grown)
    alone = TableTrainer(spec(), larger, Notes(), FORM, ignore, grown)  # type: ignore[arg-type]
    alone.restore(str(start), keep_step=False)
    note = note_on_start(start, alone.model, [layer.name for layer in grown.layers])
    assert "; initial values have more/kernel, more/bias, out/kernel" in note
    by_name = {variable.path: value for variable, value in zip(first.model.weights, before, strict=True)}
    weights(alone)
    for variable in alone.model.weights:
        if variable.path.startswith(("first", "second", "inner")):
            np.testing.assert_array_equal(variable.numpy(), by_name[variable.path])


def test_checkpoints_of_another_model_are_told(embedded_zoo: Path, tmp_path: Path) -> None:
    other = InProcessServers()
    server_trainer(embedded_zoo, "shared", other)
    path = folders.begin(tmp_path, 0, "job")
    other.save(path)
    folders.seal(path, 0, "job")
    with pytest.raises(ModelError, match=r"the checkpoint .* (has .* values for|is of another model)"):
        table_trainer(embedded_zoo, "functional").restore(str(path), keep_step=False)


def test_rows_nobody_asked_for_are_saved_with_their_initial_values(embedded_zoo: Path) -> None:
    trainer = table_trainer(embedded_zoo, "shared")
    (layer,) = trainer._layers.layers
    initial = layer.matrix()
    used = np.zeros(ROWS, bool)
    for features, labels in batches(3):
        used[np.concatenate([features["ids"].numpy().ravel(), features["other"].numpy().ravel()])] = True
        trainer.train(a_task(), iter([(features, labels)]))
    table = weights(trainer)[0]
    assert table.shape == (ROWS, 8)
    np.testing.assert_array_equal(table[~used], initial[~used])
    assert (table[used] != initial[used]).any(axis=1).all()


def test_evaluating_between_steps_sees_the_rows_and_makes_none(embedded_zoo: Path) -> None:
    trainer = table_trainer(embedded_zoo, "functional")
    trainer.train(a_task(), batches(2))
    features = {"ids": tf.constant([[ROWS - 1, ROWS - 2, 1]], tf.int64), "other": tf.constant([[1, 2]], tf.int32)}
    rows = sum(len(ids) for layer in trainer._layers.layers for ids, _ in layer.exported())
    served = tf.function(lambda: trainer._loaded.call_model(features, training=False))()
    assert sum(len(ids) for layer in trainer._layers.layers for ids, _ in layer.exported()) == rows
    trainer.finish()
    np.testing.assert_allclose(served, trainer._loaded.call_model(features, training=False), rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"class_name": "Adafactor", "config": {}}, "Adafactor"),
        ({"class_name": "Adam", "config": {"use_ema": True}}, "use_ema"),
    ],
)
def test_optimizers_that_tables_cannot_follow_are_told(embedded_zoo: Path, config: dict[str, Any], word: str) -> None:
    model = loaded(embedded_zoo, "functional", ServedLayers(threshold=1))
    with_optimizer(model, config)
    assert word in tables_misfit(model)


def test_exclusions_from_weight_decay_are_told(embedded_zoo: Path) -> None:
    model = loaded(embedded_zoo, "functional", ServedLayers(threshold=1))

    def make() -> keras.optimizers.Optimizer:
        optimizer = keras.optimizers.AdamW()
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        return optimizer

    model.make_optimizer = make  # type: ignore[method-assign]
    assert "exclude_from_weight_decay" in tables_misfit(model)
