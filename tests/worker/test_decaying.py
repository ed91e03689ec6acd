"""Learning rates that become nothing are refused, or told, where a training has no end."""

from __future__ import annotations

import inspect
from pathlib import Path

import keras
import pytest
from fitting import Here, write

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.worker.training.decaying import decay_of

schedules = keras.optimizers.schedules
# Of each class: one that ends at zero, one that decays to almost nothing, and one that goes on.
CASES = {
    "CosineDecay": (schedules.CosineDecay(0.1, 1000), None, schedules.CosineDecay(0.1, 1000, alpha=0.1)),
    "CosineDecayRestarts": (
        schedules.CosineDecayRestarts(0.1, 1000, t_mul=1.0, m_mul=0.5), None, schedules.CosineDecayRestarts(0.1, 1000),
    ),
    "ExponentialDecay": (schedules.ExponentialDecay(0.1, 1000, 0.9), None, schedules.ExponentialDecay(0.1, 1000, 1.0)),
    "InverseTimeDecay": (None, schedules.InverseTimeDecay(0.1, 1000, 0.5), schedules.InverseTimeDecay(0.1, 1e9, 0.5)),
    "PiecewiseConstantDecay": (
        schedules.PiecewiseConstantDecay([100, 200], [0.1, 0.01, 0.0]),
        schedules.PiecewiseConstantDecay([100, 200], [0.1, 0.01, 1e-5]),
        schedules.PiecewiseConstantDecay([100, 200], [0.1, 0.01, 0.001]),
    ),
    "PolynomialDecay": (
        schedules.PolynomialDecay(0.1, 1000, end_learning_rate=0.0),
        schedules.PolynomialDecay(1.0, 1000),
        schedules.PolynomialDecay(0.1, 1000, end_learning_rate=0.01),
    ),
}  # fmt: skip


def test_every_schedule_of_keras_is_judged_by_its_rates() -> None:
    base = schedules.LearningRateSchedule
    known = {
        name for name, kind in vars(schedules).items()
        if inspect.isclass(kind) and issubclass(kind, base) and kind is not base
    }  # fmt: skip
    assert known == set(CASES), "a schedule of Keras that has no case here"
    for name, (zero, little, goes_on) in CASES.items():
        if zero is not None:
            with pytest.raises(ModelError, match=f"optimizer: the learning rate of {name} ends at 0, and is less than"):
                decay_of(zero)
        if little is not None:
            assert decay_of(little).startswith(f"optimizer: the learning rate of {name} is less than a thousandth")
        assert not decay_of(goes_on), name


def test_a_training_that_follows_its_data_refuses_a_rate_that_ends_and_others_do_not(tmp_path: Path) -> None:
    text = """
def custom_model():
    model = mlp()
    model.compile(keras.optimizers.SGD(SCHEDULE), "mse")
    return model

optimizer = None
"""
    schedule = "keras.optimizers.schedules.CosineDecay(0.1, 50)"
    folder = write(tmp_path, text.replace("SCHEDULE", schedule))
    assert Here(folder, num_epochs=1).trainer().step == 0
    with pytest.raises(ModelError, match=r"CosineDecay ends at 0.* from about step 4[0-9] on; a training that follows"):
        Here(folder, num_epochs=1, follow=True).trainer()
    schedule = "keras.optimizers.schedules.InverseTimeDecay(0.1, 1000, 0.5)"
    here = Here(write(tmp_path, text.replace("SCHEDULE", schedule)), num_epochs=1, follow=True)
    here.trainer()
    (note,) = [note for note in here.session.notes if "InverseTimeDecay" in note]
    assert "use a constant rate, or a schedule that ends above zero" in note
    folder = write(tmp_path, text.replace("SCHEDULE", "0.1"))
    here = Here(folder, num_epochs=1, follow=True)
    here.trainer()
    assert not here.session.notes
