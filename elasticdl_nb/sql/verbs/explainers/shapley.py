"""SHAP values (Lundberg and Lee, 2017) by the package `shap`, of any model.

The package asks for predictions of rows whose values come partly from the row being explained and partly from others.
Which rows these are does not depend on the predictions. So the package runs twice with the same random seed: first to
learn which rows it asks for, and, after one job has predicted them, with the answers.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from elasticdl_nb.sql.models.outputs import Outputs
from elasticdl_nb.sql.verbs.explainers.explainer import Explainer, Importances, mean_sizes

PLOTS = ("dot", "bar", "violin")


def missing_package() -> str:
    """Return the name of a required package that is not installed, or an empty string."""
    return next((name for name in ("shap", "matplotlib") if importlib.util.find_spec(name) is None), "")


class Shap(Explainer):
    """The package's permutation explainer. Its rows contain row numbers, not values: for each column, the number of the
    row whose value is meant. So columns can have values of any type.
    """

    def rows(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows that the package asks for."""
        asked: list[Outputs] = []

        def hear(places: Outputs) -> Outputs:
            asked.append(places.astype(np.int64))
            return np.zeros(len(places))

        self._explain(hear)
        for places in asked:
            columns = [
                self.features.column(number).take(pa.array(places[:, number])).combine_chunks()
                for number in range(self.features.num_columns)
            ]
            yield from pa.Table.from_arrays(columns, schema=self.features.schema).to_batches()

    def importances(self, outputs: Outputs) -> Importances:
        """Return the mean absolute SHAP values, and the package's own picture of them."""
        given = 0

        def answer(places: Outputs) -> Outputs:
            nonlocal given
            given += len(places)
            return outputs[given - len(places) : given]

        values, explained = self._explain(answer)
        measure = f"mean absolute SHAP value over {len(explained)} rows"
        if values.ndim == 3:  # of several outputs, the picture shows the one that varies most
            measure += " and all outputs"
            sizes, values = np.abs(values), values[:, :, int(np.abs(values).sum(axis=(0, 1)).argmax())]
        else:
            sizes = values
        found = mean_sizes(self.features.schema.names, sizes.reshape(len(values), values.shape[1], -1).mean(2), measure)
        return Importances(found.rows, measure, self._picture(values, explained))

    def _explain(self, model: Any) -> tuple[Outputs, Outputs]:
        """Return SHAP values [n, columns] or [n, columns, outputs], and the numbers of the rows that they belong to."""
        import shap

        state = np.random.get_state()
        try:
            random = np.random.default_rng(self.settings["seed"])
            count, width = self.features.num_rows, self.features.num_columns
            background = np.sort(random.permutation(count)[: self.settings["background"]])
            explained = np.arange(count)
            explainer = shap.explainers.Permutation(
                model, shap.maskers.Independent(_places(background, width)), seed=self.settings["seed"]
            )
            evaluations = self.settings["repeats"] * (2 * width + 1)
            with contextlib.redirect_stderr(io.StringIO()):  # it prints its progress
                found = explainer(_places(explained, width), max_evals=evaluations, silent=True)
            return np.asarray(found.values), explained
        finally:
            np.random.set_state(state)

    def _picture(self, values: Outputs, explained: Outputs) -> str:
        import matplotlib
        import shap

        if "matplotlib.pyplot" not in sys.modules:
            matplotlib.use("agg")
        from matplotlib import pyplot

        settings = {key.partition(".")[2]: value for key, value in self.settings.items() if key.startswith("summary.")}
        shown = self.features.take(pa.array(explained)).to_pandas()
        picture = io.StringIO()
        with pyplot.ioff(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            figure = pyplot.figure()
            try:
                shap.summary_plot(values, shown, show=False, **settings)
                pyplot.gcf().savefig(picture, format="svg", bbox_inches="tight", facecolor="white")
            finally:
                pyplot.close(pyplot.gcf())
                pyplot.close(figure)
        return picture.getvalue()


def _places(rows: Outputs, width: int) -> Outputs:
    return np.repeat(rows[:, np.newaxis].astype(float), width, axis=1)
