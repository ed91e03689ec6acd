import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.parameters.optimizers.rules import COMPILED, has_compiled_rule, optimizer_from_config

keras = pytest.importorskip("keras")
K = keras.optimizers

rates = st.floats(1e-4, 0.5)
betas = st.floats(0.5, 0.999)
epsilons = st.sampled_from([1e-7, 1e-3])
decays = st.sampled_from([None, None, 0.004, 0.1])
flags = st.booleans()

OPTIMIZERS = {
    "SGD": st.builds(
        K.SGD, rates, momentum=st.sampled_from([0.0, 0.5, 0.9]), nesterov=flags, weight_decay=decays
    ),
    "Adam": st.builds(K.Adam, rates, betas, betas, epsilons, flags, weight_decay=decays),
    "AdamW": st.builds(K.AdamW, rates, st.floats(0.001, 0.1), betas, betas, epsilons, flags),
    "Adamax": st.builds(K.Adamax, rates, betas, betas, epsilons, weight_decay=decays),
    "Nadam": st.builds(K.Nadam, rates, betas, betas, epsilons, weight_decay=decays),
    "Adagrad": st.builds(K.Adagrad, rates, st.floats(0.01, 1), epsilons, weight_decay=decays),
    "RMSprop": st.builds(
        K.RMSprop, rates, betas, st.sampled_from([0.0, 0.9]), st.just(1e-3), flags, weight_decay=decays
    ),
    "Adadelta": st.builds(K.Adadelta, rates, betas, epsilons, weight_decay=decays),
    "Lion": st.builds(K.Lion, rates, betas, betas, weight_decay=decays),
    "Ftrl": st.builds(
        K.Ftrl, rates, st.sampled_from([-0.5, -0.5, -0.3, 0.0]), st.floats(0.01, 1), st.sampled_from([0.0, 0.01]),
        st.sampled_from([0.0, 0.1]), st.sampled_from([0.0, 0.1]), st.sampled_from([0.0, 0.5]), weight_decay=decays,
    ),
}  # fmt: skip


def configuration(optimizer):
    return json.loads(json.dumps(K.serialize(optimizer)))


def trained_by_keras(optimizer, weights, gradients):
    variable = keras.Variable(weights)
    optimizer.build([variable])
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    return variable.numpy()


def trained_by_rule(config, weights, gradients):
    optimizer = optimizer_from_config(config)
    row = weights.reshape(1, -1).copy()
    slots = [np.full_like(row, slot.initial) for slot in optimizer.rule.slots]
    for step, gradient in enumerate(gradients, 1):
        (clipped,) = optimizer.clipping([gradient])
        rate = optimizer.learning_rate(step - 1)
        optimizer.rule.apply(row, slots, np.zeros(1, np.int32), clipped.reshape(1, -1), rate, step)
    return row.reshape(weights.shape)


def random_problem(seed, steps=12):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(3, 5)).astype(np.float32)
    return weights, [rng.normal(size=(3, 5)).astype(np.float32) for _ in range(steps)]


def assert_equal_to_keras(optimizer, seed=0, steps=12, tolerance=1e-6):
    weights, gradients = random_problem(seed, steps)
    config = configuration(optimizer)
    ours = trained_by_rule(config, weights, gradients)
    theirs = trained_by_keras(optimizer, weights, gradients)
    scale = max(1.0, float(np.abs(theirs).max()))
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * scale)


def test_every_compiled_optimizer_is_tested():
    assert set(OPTIMIZERS) == set(COMPILED)


@pytest.mark.parametrize("name", OPTIMIZERS)
@given(st.data(), st.integers(0, 2**32))
@settings(max_examples=8, deadline=None)
def test_dense_variables_train_as_in_keras(name, data, seed):
    assert_equal_to_keras(data.draw(OPTIMIZERS[name]), seed)


@pytest.mark.parametrize("name", ["Adam", "Nadam", "RMSprop", "Ftrl"])
def test_many_steps_stay_with_keras(name):
    assert_equal_to_keras(getattr(K, name)(0.01), steps=150, tolerance=5e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ids_that_occur_several_times_count_as_in_keras(name):
    tf = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(1)
    weights, made = rng.normal(size=(4, 3)).astype(np.float32), getattr(K, name)(0.05)
    rule, variable = optimizer_from_config(configuration(made)).rule, keras.Variable(weights)
    made.build([variable])
    row = weights.reshape(1, -1).copy()
    slots = [np.full_like(row, slot.initial) for slot in rule.slots]
    for step in range(1, 6):
        ids, values = rng.integers(0, 3, 5), rng.normal(size=(5, 3)).astype(np.float32)
        made.apply([tf.IndexedSlices(values, ids, weights.shape)], [variable])
        sums, sizes = np.zeros_like(weights), np.zeros_like(weights)
        np.add.at(sums, ids, values)
        np.add.at(sizes, ids, values if rule.size is None else rule.size(values))
        sizes = None if rule.size is None else sizes.reshape(1, -1)
        rule.apply(row, slots, np.zeros(1, np.int32), sums.reshape(1, -1), np.float32(0.05), step, sizes)
    np.testing.assert_allclose(row.reshape(weights.shape), variable.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("clipping", [{"clipnorm": 0.5}, {"global_clipnorm": 0.5}, {"clipvalue": 0.3}])
def test_clipping_is_that_of_keras(clipping):
    assert_equal_to_keras(K.SGD(0.1, **clipping))
    rng = np.random.default_rng(3)
    gradients = [rng.normal(size=shape).astype(np.float32) for shape in ((4, 2), (3,), (1, 1))]
    clip = optimizer_from_config(configuration(K.SGD(0.1, **clipping))).clipping
    assert clip
    theirs = K.SGD(0.1, **clipping)._clip_gradients([keras.ops.convert_to_tensor(g) for g in gradients])
    for ours, other in zip(clip(gradients), theirs, strict=True):
        np.testing.assert_allclose(ours, other.numpy(), rtol=1e-6)


def test_no_clipping_leaves_gradients_alone():
    clip = optimizer_from_config(configuration(K.SGD(0.1))).clipping
    gradient = np.ones(3, np.float32)
    assert not clip
    assert clip([gradient])[0] is gradient


def test_rows_without_a_gradient_are_left_alone():
    rule = optimizer_from_config(configuration(K.AdamW(0.1))).rule
    weights = np.ones((5, 2), np.float32)
    slots = [np.full_like(weights, 0.5) for _ in rule.slots]
    rule.apply(weights, slots, np.array([3, 1], np.int32), np.ones((2, 2), np.float32), np.float32(0.1), 1)
    for array, untouched in zip((weights, *slots), (1, 0.5, 0.5), strict=True):
        assert (array[[0, 2, 4]] == untouched).all()
        assert (array[[1, 3]] != untouched).all()


SCHEDULES = [
    K.schedules.ExponentialDecay(0.1, 7, 0.9),
    K.schedules.ExponentialDecay(0.1, 7, 0.9, staircase=True),
    K.schedules.PiecewiseConstantDecay([5, 12, 30], [0.1, 0.05, 0.01, 0.001]),
    K.schedules.PiecewiseConstantDecay([5], [0.1, 0.05]),
    K.schedules.PolynomialDecay(0.1, 20),
    K.schedules.PolynomialDecay(0.1, 20, 0.01, power=2.0, cycle=True),
    K.schedules.InverseTimeDecay(0.1, 7, 0.5),
    K.schedules.InverseTimeDecay(0.1, 7, 0.5, staircase=True),
    K.schedules.CosineDecay(0.1, 30, alpha=0.1),
    K.schedules.CosineDecay(0.01, 30, warmup_target=0.1, warmup_steps=10),
    K.schedules.CosineDecayRestarts(0.1, 10),
    K.schedules.CosineDecayRestarts(0.1, 10, t_mul=1.0, m_mul=0.8, alpha=0.01),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.name)
def test_schedules_are_those_of_keras(schedule):
    ours = optimizer_from_config(configuration(K.SGD(schedule))).learning_rate
    for iteration in (0, 1, 2, 5, 6, 7, 9, 11, 12, 13, 20, 21, 30, 31, 40, 47, 100, 1000):
        assert ours(iteration) == pytest.approx(float(schedule(iteration)), rel=1e-5, abs=1e-8), iteration


def test_a_schedule_drives_the_training():
    assert_equal_to_keras(K.Adam(K.schedules.ExponentialDecay(0.1, 2, 0.5)))


@keras.saving.register_keras_serializable("tests")
class Own(K.Adam):
    pass


@keras.saving.register_keras_serializable("tests")
class OwnSchedule(K.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.1

    def get_config(self):
        return {}


def test_a_subclass_has_no_compiled_rule():
    assert has_compiled_rule(configuration(K.Adam()))
    assert not has_compiled_rule(configuration(Own()))
    with pytest.raises(ModelError, match="tests>Own has no compiled update rule"):
        optimizer_from_config(configuration(Own()))


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (lambda: K.Adafactor(), "Adafactor cannot run on parameter servers.*use one of SGD, Adam"),
        (lambda: K.Muon(), "Muon cannot run"),
        (lambda: K.ScheduleFreeAdamW(), "ScheduleFreeAdamW cannot run"),
        (lambda: K.LossScaleOptimizer(K.SGD()), "LossScaleOptimizer cannot run.*optimizer inside it"),
        (lambda: K.Adam(use_ema=True), "use_ema=True of Adam does not work"),
        (lambda: K.SGD(gradient_accumulation_steps=4), "gradient_accumulation_steps=4 of SGD does not work"),
        (lambda: K.SGD(loss_scale_factor=128.0), "loss_scale_factor=128.0 of SGD does not work"),
        (lambda: K.SGD(OwnSchedule()), "schedule tests>OwnSchedule cannot be evaluated.*ExponentialDecay"),
    ],
)
def test_what_cannot_be_had_is_refused_with_what_can(optimizer, message):
    with pytest.raises(ModelError, match=message):
        optimizer_from_config(configuration(optimizer()))
