"""What explainers ask a model, and what they make of its answers, for models whose answers are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from engine_tables import fill_people, store_untrained

from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.sql.features.finishing import finish
from elasticdl_nb.sql.features.statistics import Statistics
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.parser import parse
from elasticdl_nb.sql.language.statements import Explain
from elasticdl_nb.sql.record.modelrecord import Label
from elasticdl_nb.sql.session import Session
from elasticdl_nb.sql.verbs import explaining
from elasticdl_nb.sql.verbs.context import Context
from elasticdl_nb.sql.verbs.explainers import shapley
from elasticdl_nb.sql.verbs.explainers.explainer import Explainer
from elasticdl_nb.sql.verbs.explainers.permutation import Permutation
from elasticdl_nb.sql.zoo.attributions import AttributionModel
from elasticdl_nb.sql.zoo.tableinput import TableInput
from elasticdl_nb.sql.zoo.tablelayers import FeatureModel
from elasticdl_nb.tables.featurerecord import Category, Feature, Number, Source

FEATURES = pa.table({
    "x": np.linspace(-1, 1, 40), "word": ["a", "b"] * 20, "idle": [None, 3] * 20, "y": np.linspace(2, -2, 40) ** 2,
})  # fmt: skip


def model_of(label: Label | None) -> Any:
    return SimpleNamespace(record=SimpleNamespace(label=label), path="")


def explained(explainer: Explainer, outputs: Any) -> Any:
    table = pa.Table.from_batches(list(explainer.rows()), FEATURES.schema)
    return explainer.importances(outputs(table.to_pandas()))


def test_permutation_finds_what_the_model_looks_at() -> None:
    label = pa.chunked_array([10 * FEATURES["x"].to_numpy()])
    explainer = Permutation(model_of(Label("y", "float", "regression")), FEATURES, label, {"repeats": 3, "seed": 0})
    found = explained(explainer, lambda rows: (10 * rows.x + (rows.word == "a")).to_numpy())
    assert [name for name, _, _ in found.rows][:2] == ["x", "word"]
    assert found.rows[0][1] > 5
    assert {name: mean for name, mean, _ in found.rows}["idle"] == 0


@pytest.mark.parametrize("seed", [0, 7])
def test_shap_values_of_a_sum_are_its_parts(seed: int) -> None:
    settings = {"rows": 100, "repeats": 1, "background": 40, "seed": seed, "summary.plot_type": "bar"}
    state = np.random.get_state()[1].copy()  # type: ignore[union-attr, index]
    explainer = shapley.Shap(model_of(None), FEATURES, None, settings)
    found = explained(explainer, lambda rows: (10 * rows.x + 4 * (rows.word == "a")).to_numpy())
    sizes = {name: mean for name, mean, _ in found.rows}
    x = FEATURES["x"].to_numpy()
    assert sizes["x"] == pytest.approx(10 * np.abs(x - x.mean()).mean(), abs=1e-6)
    assert sizes["word"] == pytest.approx(2)
    assert sizes["idle"] == sizes["y"] == pytest.approx(0, abs=1e-9)
    assert "<svg" in found.plot
    assert np.array_equal(np.random.get_state()[1], state)  # type: ignore[index]


def test_shap_values_of_several_outputs() -> None:
    settings = {"rows": 100, "repeats": 1, "background": 10, "seed": 0, "summary.plot_type": "dot"}
    explainer = shapley.Shap(model_of(None), FEATURES, None, settings)
    found = explained(explainer, lambda rows: np.stack([rows.y, -rows.y, rows.x * 0], axis=1))
    assert found.rows[0][0] == "y"
    assert "<svg" in found.plot


# ------------------------------------------------------------------ integrated gradients


class Curved(keras.Model):
    """Two outputs of two inputs that have everything to do with each other."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = [keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(2)]

    def call(self, inputs: Any) -> Any:
        return self.dense[1](self.dense[0](keras.ops.concatenate([inputs["left"], inputs["right"] ** 2], axis=1)))


def test_parts_add_up_to_what_the_row_changes() -> None:
    keras.utils.set_random_seed(1)
    known = {"a": Statistics(rows=3, minimum=0, maximum=4, mean=2.0, deviation=2.0)}
    word = Category(Source("vocabulary", column="word", terms=("u", "v")), "embedding", dimension=3)
    cross = Source("cross", sources=(Source("vocabulary", column="word", terms=("u", "v")),
                                     Source("bucket", column="a", boundaries=(1, 2))), buckets=6)  # fmt: skip
    listed: dict[str, list[Feature]] = {"left": [Number("a"), word], "right": [Category(cross, "indicator")]}
    features = {name: [finish(item, known) for item in items] for name, items in listed.items()}
    rows = {"a": tf.constant([0.0, 3.5, 1.2]), "word": tf.constant(["u", "v", "other"]), "idle": tf.constant([1, 2, 3])}
    inputs = TableInput(features, {"a": "float", "word": "text"}, None)(rows, Mode.PREDICTION)
    inner = Curved()
    plain = FeatureModel(inner, features, [5.0, 3.0])
    asked = AttributionModel(inner, features, [5.0, 3.0], ["word", "a", "idle"], 40)
    asked.columns = plain.columns
    outputs = plain(inputs).numpy()
    parts = asked(inputs).numpy()
    assert parts.shape == (3, 3)
    nothing = plain.outputs([tf.zeros_like(end) for end in plain.features(inputs)]).numpy()
    chosen = outputs.argmax(axis=1)
    change = (outputs - nothing)[np.arange(3), chosen]
    np.testing.assert_allclose(parts.sum(axis=1), change, rtol=1e-3, atol=1e-4)
    assert (parts[:, 2] == 0).all()
    assert np.abs(parts[:, :2]).min() > 0


# ------------------------------------------------------------------ what may be asked for


@pytest.fixture
def session(tmp_path: Any) -> Any:
    with Session(store=str(tmp_path / "models")) as session:
        fill_people(session.engine, 12)
        store_untrained(session, "SELECT age, role, pay FROM people TRAIN DNNRegressor INTO model")
        yield session


@pytest.mark.parametrize(
    ("clause", "explainer", "settings"),
    [
        ("", "permutation", {"rows": 2000, "repeats": 5}),
        ("USING permutation", "permutation", {}),
        ("WITH steps=5 USING IntegratedGradients", "integrated_gradients", {"steps": 5}),
        ("USING integrated_gradients", "integrated_gradients", {"steps": 20}),
        ("USING shap", "shap", {"summary.plot_type": "dot"}),
        ("WITH summary.plot_type='bar', summary.alpha=1, summary.sort=True USING TreeExplainer", "shap",
         {"summary.plot_type": "bar", "summary.alpha": 1, "summary.sort": True}),
        ("WITH shap_summary.plot_type='bar' USING TreeExplainer", "shap", {"summary.plot_type": "bar"}),
        ("WITH summary.plot_type='violin'", "shap", {"summary.plot_type": "violin"}),
    ],
)  # fmt: skip
def test_which_explainer_is_meant(session: Session, clause: str, explainer: str, settings: dict[str, Any]) -> None:
    statement = parse(f"SELECT * FROM people EXPLAIN model {clause}", session.dialect)[0]
    assert isinstance(statement, Explain)
    prepared = explaining.prepare(statement, Context(session.engine, session.store))
    assert prepared.explainer == explainer
    assert settings.items() <= prepared.settings.items()


@pytest.mark.parametrize(
    ("clause", "message"),
    [
        ("USING integrated_gradient", "Did you mean 'integrated_gradients'"),
        ("WITH steps=5", "'steps' is not an attribute of this statement.*repeats"),
        ("WITH summary.plot_type='pie'", "summary.plot_type: 'pie' is not valid: expected one of dot, bar, violin"),
        ("WITH summary.plot_typ='bar' USING shap", "Did you mean 'summary.plot_type'"),
        ("WITH summary.alpha=2 USING shap", "summary.alpha: 2 is not valid"),
        ("WITH background=0 USING shap", "background: 0 is not valid"),
    ],
)
def test_what_no_explainer_takes(session: Session, clause: str, message: str) -> None:
    with pytest.raises(SqlError, match=message) as caught:
        session.run(f"SELECT * FROM people EXPLAIN model {clause}")
    assert "^" in str(caught.value)


def test_a_package_that_is_missing_is_named(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapley, "missing_package", lambda: "shap")
    with pytest.raises(SqlError, match=r"needs shap.*pip install 'elasticdl_nb\[shap\]'"):
        session.run("SELECT * FROM people EXPLAIN model USING shap")
