import numpy as np
import pytest

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.parameters.initializers import KNOWN, row_initializer


def values(config, ids, dim=8, table="t", **options):
    out = np.empty((len(ids), dim), np.float32)
    row_initializer(config, table, dim, **options)(np.asarray(ids, np.int64), out)
    return out


@pytest.mark.parametrize("name", KNOWN)
def test_values_depend_on_the_id_alone(name):
    ids = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 20_000)
    together = values(name, ids, input_dim=100)
    np.testing.assert_array_equal(together[::-1], values(name, ids[::-1], input_dim=100))
    np.testing.assert_array_equal(together[777], values(name, ids[777:778], input_dim=100)[0])


@pytest.mark.parametrize("change", [{"seed": 1}, {"table": "u"}])
def test_seed_and_table_change_the_values(change):
    ids = np.arange(1000)
    assert (values("normal", ids) != values("normal", ids, **change)).mean() > 0.99


def test_a_seed_in_the_configuration_counts():
    config = {"class_name": "RandomNormal", "config": {"mean": 0.0, "stddev": 1.0, "seed": 7}}
    other = {**config, "config": {**config["config"], "seed": 8}}
    assert (values(config, np.arange(100)) != values(other, np.arange(100))).all()


def test_random_values_follow_their_distribution():
    ids = np.arange(50_000) * 977
    uniform = values({"class_name": "RandomUniform", "config": {"minval": -1.0, "maxval": 3.0}}, ids)
    assert uniform.min() >= -1 and uniform.max() <= 3
    assert uniform.mean() == pytest.approx(1, abs=0.01)
    assert uniform.var() == pytest.approx(16 / 12, rel=0.01)
    normal = values({"class_name": "RandomNormal", "config": {"mean": 2.0, "stddev": 0.5}}, ids)
    assert normal.mean() == pytest.approx(2, abs=0.01)
    assert normal.std() == pytest.approx(0.5, rel=0.01)
    assert np.abs(np.corrcoef(normal, rowvar=False) - np.eye(8)).max() < 0.03
    assert abs(np.corrcoef(normal[:-1, 0], normal[1:, 0])[0, 1]) < 0.03
    truncated = values({"class_name": "TruncatedNormal", "config": {"mean": 0.0, "stddev": 1.0}}, ids)
    assert np.abs(truncated).max() <= 2
    assert truncated.std() == pytest.approx(0.8796, rel=0.01)


def test_constants_are_exact():
    assert (values("zeros", [1, 2]) == 0).all()
    assert (values("ones", [1, 2]) == 1).all()
    assert (values({"class_name": "Constant", "config": {"value": 0.25}}, [1, 2]) == 0.25).all()


def test_scaling_initializers_need_the_number_of_ids():
    glorot = values("glorot_uniform", np.arange(10_000), input_dim=1000)
    assert np.abs(glorot).max() <= np.sqrt(6 / 1008)
    assert glorot.std() == pytest.approx(np.sqrt(2 / 1008), rel=0.02)
    with pytest.raises(ModelError, match="embedding t: GlorotUniform depends on the number of ids"):
        values("glorot_uniform", [1])


@pytest.mark.parametrize("name", ["Orthogonal", "my_own", "Identity"])
def test_other_initializers_are_refused_with_the_list(name):
    with pytest.raises(ModelError, match=f"one by one with {name}; use one of Zeros, Ones"):
        values(name, [1])
