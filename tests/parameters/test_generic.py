import numpy as np
import pytest

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.parameters.optimizers.generic import generic_optimizer
from elasticdl_nb.runtime.parameters.table import EmbeddingTable, TableSpec

keras = pytest.importorskip("keras")
K = keras.optimizers


class SignMomentum(K.Optimizer):
    """An optimizer of a user's own, with a slot that does not start at zero."""

    def build(self, variables):
        super().build(variables)
        self.trace = self.add_optimizer_variables(variables, "trace", initializer="ones")

    def update_step(self, gradient, variable, learning_rate):
        trace = self.trace[self._get_variable_index(variable)]
        self.assign(trace, 0.9 * trace + gradient)
        self.assign_sub(variable, learning_rate * keras.ops.sign(trace) * keras.ops.sqrt(keras.ops.abs(trace)))


MAKERS = {
    "own": lambda: SignMomentum(0.1),
    "own with decay": lambda: SignMomentum(0.1, weight_decay=0.01),
    "own with a schedule": lambda: SignMomentum(K.schedules.ExponentialDecay(0.1, 2, 0.5)),
    "Adam": lambda: K.Adam(0.1),
    "Lamb": lambda: K.Lamb(0.1),
}


@pytest.mark.parametrize("name", MAKERS)
def test_all_rows_together_train_as_in_keras(name):
    rng = np.random.default_rng(0)
    optimizer, theirs = generic_optimizer(MAKERS[name]), MAKERS[name]()
    weights = rng.normal(size=(6, 4)).astype(np.float32)
    variable = keras.Variable(weights)
    slots = [np.full_like(weights, slot.initial) for slot in optimizer.rule.slots]
    rows = np.arange(6, dtype=np.int32)
    for step in range(1, 11):
        gradient = rng.normal(size=weights.shape).astype(np.float32)
        optimizer.rule.apply(weights, slots, rows, gradient, optimizer.learning_rate(step - 1), step)
        theirs.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    np.testing.assert_allclose(weights, variable.numpy(), rtol=2e-6, atol=2e-6)


def test_slots_are_named_and_start_at_the_optimizers_own_value():
    assert [(slot.name, slot.initial) for slot in generic_optimizer(MAKERS["own"]).rule.slots] == [("trace", 1.0)]


def test_a_table_works_with_it_whatever_the_number_of_rows():
    optimizer = generic_optimizer(lambda: SignMomentum(0.1, clipnorm=1e-9))
    assert optimizer.clipping.clipnorm == 1e-9
    table = EmbeddingTable(TableSpec("t", 3, "zeros"), optimizer.rule)
    for step, ids in enumerate(([5, 5, 9], [5], list(range(20))), 1):
        table.apply(np.array(ids), np.ones((len(ids), 3), np.float32), 0.1, step)
    # Untouched before the third step: a trace of 1 became 0.9 + 1.
    np.testing.assert_allclose(table.lookup(np.array([19]))[0], -0.1 * np.sqrt(1.9), rtol=1e-6)


@pytest.mark.parametrize(
    "make", [K.Adafactor, K.Muon, K.ScheduleFreeAdamW, K.Nadam, lambda: K.LossScaleOptimizer(K.SGD())]
)
def test_optimizers_with_other_state_are_refused_with_the_list(make):
    with pytest.raises(ModelError, match=r"cannot run on parameter servers.*use one of SGD, Adam, AdamW"):
        generic_optimizer(make)


def test_averaged_weights_are_refused():
    with pytest.raises(ModelError, match="use_ema=True of SignMomentum"):
        generic_optimizer(lambda: SignMomentum(0.1, use_ema=True))
