import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdl_nb.runtime.compiled import ENABLED, plain
from elasticdl_nb.runtime.parameters.optimizers import updates
from elasticdl_nb.runtime.parameters.rows import kernels, kernels_numpy

UPDATES = {name: value for name, value in vars(updates).items() if isinstance(value, updates.Update)}
numba_only = pytest.mark.skipif(not ENABLED, reason="numba is not installed or switched off")


@numba_only
@pytest.mark.parametrize("name", UPDATES)
def test_compiled_updates_equal_numpy_bit_for_bit(name):
    rng = np.random.default_rng(len(name))
    update = UPDATES[name]
    slots = plain(update.loop).__code__.co_argcount - 5
    arrays = [rng.uniform(0.1, 1, (50, 37)).astype(np.float32) for _ in range(1 + slots)]
    others = [array.copy() for array in arrays]
    # RMSprop's centered forms take the root of velocity - average^2.
    constants = tuple(np.float32(x) for x in (0.1, 0.4, 0.6, 1.5, 0.2, 0.7, 0.8, 0.9, 0.3))
    for _ in range(3):
        rows = rng.permutation(50)[:40].astype(np.int32)
        gradients = rng.normal(size=(40, 37)).astype(np.float32)
        update.apply(arrays[0], arrays[1:], rows, gradients, constants)
        update.apply_plain(others[0], others[1:], rows, gradients, constants)
    tolerance = 1e-5 if name == "FTRL" else 0  # NumPy and the compiler may raise to a power differently
    for array, other in zip(arrays, others, strict=True):
        np.testing.assert_allclose(array, other, rtol=tolerance, atol=tolerance)
        assert np.isfinite(array).all()


def test_a_gradient_that_is_not_a_number_stays_visible():
    weights, slots = np.ones((1, 4), np.float32), [np.zeros((1, 4), np.float32) for _ in range(3)]
    gradients = np.array([[1, np.nan, np.inf, 2]], np.float32)
    constants = tuple(np.float32(0.1) for _ in range(4))
    updates.AMSGRAD.apply(weights, slots, np.zeros(1, np.int32), gradients, constants)
    assert np.isnan(weights[0]).tolist() == [False, True, True, False]


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 60), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_moving_rows_equals_numpy(capacity, dim, n, random):
    rng = np.random.default_rng(random.randrange(2**32))
    source = rng.normal(size=(capacity, dim)).astype(np.float32)
    rows = rng.integers(0, capacity, n).astype(np.int32)
    values = rng.normal(size=(n, dim)).astype(np.float32)
    results = []
    for use in (kernels, kernels_numpy):
        out, target, total = np.empty((n, dim), np.float32), source.copy(), source.copy()
        use.gather(source, rows, out)
        use.scatter(target, rows, values)
        use.add_rows(total, rows, values)
        results.append((out, target, total))
    for ours, others in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, others)


def test_numba_can_be_switched_off():
    code = (
        "import sys, numpy as np\n"
        "from elasticdl_nb.runtime.parameters.optimizers.rules import optimizer_from_config\n"
        "from elasticdl_nb.runtime.parameters.table import EmbeddingTable, TableSpec\n"
        "config = {'learning_rate': 0.1, 'epsilon': 1e-7, 'initial_accumulator_value': 0.1}\n"
        "optimizer = optimizer_from_config({'class_name': 'Adagrad', 'config': config})\n"
        "table = EmbeddingTable(TableSpec('t', 2, 'ones'), optimizer.rule)\n"
        "table.apply(np.array([7, 7]), np.ones((2, 2), np.float32), 0.1, 1)\n"
        "assert 'numba' not in sys.modules and 'tensorflow' not in sys.modules\n"
        "print(table.lookup(np.array([7]))[0, 0])\n"
    )
    environment = {**os.environ, "ELASTICDL_NO_NUMBA": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(1 - 0.1 * 2 / np.sqrt(4.1), rel=1e-6)
