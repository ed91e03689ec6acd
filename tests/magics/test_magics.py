"""The magics in a shell; `--dry_run` goes all the way to the job's folder, and starts nothing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from magic_shell import Shell

from elasticdl_nb.magics.options import MagicError
from elasticdl_nb.runtime.errors import DataError, ElasticDLError, OptionError
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

HELPERS = """
UNITS = 7

def loss(labels, output):
    return (labels - output) ** 2

def optimizer():
    return "sgd"

def dataset_fn(dataset, mode):
    return dataset
"""
MODEL = """
def custom_model():
    import keras
    return keras.Sequential([keras.layers.Dense(UNITS), keras.layers.Dense(1)])
"""


@pytest.fixture
def data(shell: Shell) -> None:
    pd.DataFrame({"x": [1.0, 2.0], "y": [2.0, 4.0]}).to_parquet("data.parquet")


def test_a_cell_that_defines_one_model_trains_it_with_the_notebooks_functions(shell, data, capsys):
    shell.run(HELPERS, f"%%elasticdl_train --dry_run\n--data data.parquet --num_epochs 3\n{MODEL}")
    out = capsys.readouterr().out
    assert "return keras.Sequential" in out and "UNITS = 7" in out
    for option in ("--loss", "--optimizer", "--dataset_fn", "--model_def"):
        assert option in out
    assert "captured_from_session.custom_model" in out and "captured_from_session.loss" in out
    assert JobFolder.all() == [] and "job" not in shell.names


def test_a_processor_of_predictions_goes_with_the_model(shell, data, capsys):
    shell.run(HELPERS, "class PredictionOutputsProcessor:\n    def process(self, predictions, worker_id): pass")
    shell.run(f"%%elasticdl_train --dry_run --data data.parquet\n{MODEL}")
    assert "class PredictionOutputsProcessor" in capsys.readouterr().out


def test_the_cells_python_runs_first_and_its_error_is_its_own(shell, data):
    with pytest.raises(ZeroDivisionError) as raised:
        shell.run("%%elasticdl_train --dry_run --data data.parquet\n--minibatch_size 4\nx = 1\n1 / 0")
    assert raised.traceback[-1].lineno + 1 == 4  # of the cell, as pytest counts from 0
    assert shell.names["x"] == 1


def test_a_syntax_error_in_the_cells_python_is_one_message(shell):
    with pytest.raises(MagicError, match=r"cell \[1\], line 4: unexpected indent: y = 2"):
        shell.run("%%elasticdl_train --data data.parquet\n--num_epochs 2\nx = 1\n    y = 2")


def test_a_mistake_in_the_options_is_found_before_the_cell_runs(shell):
    with pytest.raises(OptionError, match=r"not an option of train\. Did you mean 'data'"):
        shell.run("%%elasticdl_train --date data.parquet\nran = True")
    with pytest.raises(OptionError) as several:
        shell.run("%%elasticdl_train --num_epochs three\n--minibatch_size -8 --num_epoch 5 --data $x\nran = True")
    assert [one.split(": ")[0] for one in str(several.value).splitlines()] == [
        "num_epochs", "minibatch_size", "num_epoch"
    ]  # fmt: skip
    assert "ran" not in shell.names


def test_frames_are_handed_over_by_name_or_reference(shell, data, capsys):
    shell.run(HELPERS + MODEL, "frame = __import__('pandas').DataFrame({'x': [1.0], 'y': [2.0]})")
    for written in ("frame", "$frame", "{frame[:1]}"):
        shell.run(f"%elasticdl_train --model_def custom_model --data {written} --dry_run")
        assert "data-0.parquet" in capsys.readouterr().out
    with pytest.raises(OptionError, match="no rows"):
        shell.run("%elasticdl_train --model_def custom_model --data {frame[:0]} --dry_run")


def test_a_model_that_is_not_there_is_named_with_those_that_are(shell, data):
    shell.run(HELPERS + MODEL)
    with pytest.raises(OptionError, match=r"defines no 'custom_modl'.*Did you mean 'custom_model'"):
        shell.run("%elasticdl_train --model_def custom_modl --data data.parquet")
    with pytest.raises(OptionError, match=r"this cell defines no keras.Model"):
        shell.run("%%elasticdl_train --data data.parquet\ndef build():\n    pass")


def test_errors_are_shown_as_one_message(shell, capsys):
    with pytest.raises(ElasticDLError):
        shell.run("%elasticdl_evaluate --trained_model nowhere --data nothing.csv")
    shown = capsys.readouterr()
    text = shown.out + shown.err
    assert "nowhere" in text and "Traceback" not in text and len(text.splitlines()) <= 3


def test_missing_data_is_refused_by_name(shell):
    with pytest.raises((DataError, OptionError), match=r"missing\.parquet"):
        shell.run(HELPERS, f"%%elasticdl_train --data missing.parquet\n{MODEL}")


def test_help_is_a_table_of_every_option(shell, capsys):
    shell.run("%%elasticdl_train --help")
    out = capsys.readouterr().out
    assert "--num_epochs" in out and "--dry_run" in out and "\x1b" not in out
    places = [out.index(text) for text in ("The ones that matter first", "--data ", "Checkpoints", "--keep_checkpoint")]
    assert places == sorted(places) and out.count("--data ") == 1
    assert "--data=$frame takes a data frame" in out


def test_session_defaults_are_shown_and_used(shell, data, capsys):
    shell.run("%elasticdl_config --minibatch_size 99 --no_wait")
    shell.run(HELPERS, f"%%elasticdl_train --dry_run --data data.parquet\n{MODEL}")
    assert "99" in capsys.readouterr().out
    with pytest.raises(OptionError, match="minibatch_size: 'many' is not valid"):
        shell.run("%elasticdl_config --minibatch_size many")
    shell.run("%elasticdl_config --reset")
    assert "No session defaults" in capsys.readouterr().out


def test_attach_takes_the_latest_job(shell):
    for name in ("first", "second"):
        JobFolder.create(JobSpec.create("train", model_def="m", data="x.csv", job_name=name))
    shell.run("%elasticdl_attach --no_wait")
    assert shell.names["job"].name == "second"


def test_attach_needs_a_job_that_there_is(shell):
    with pytest.raises(MagicError, match="there is no job on this machine yet"):
        shell.run("%elasticdl_attach")
    with pytest.raises(MagicError, match="takes the name of one job"):
        shell.run("%elasticdl_attach x y")
    with pytest.raises(ElasticDLError, match="no job named 'x' on this machine"):
        shell.run("%elasticdl_attach x")
    assert len(shell.run("%elasticdl_jobs")) == 0


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("%%elasticdl_train --num_e", "%%elasticdl_train --num_epochs="),
        ("%%elasticdl_train\n--data x --minib", "%%elasticdl_train\n--data x --minibatch_size="),
        ("%elasticdl_train --log_level=WA", "%elasticdl_train --log_level=WARNING"),
        ("%elasticdl_train --model_def=cust", "%elasticdl_train --model_def=custom_model"),
        ("%elasticdl_train --data $fra", "%elasticdl_train --data $frame"),
        ("%elasticdl_train --data data.par", "%elasticdl_train --data data.parquet"),
        ("%elasticdl_train --loss my_", "%elasticdl_train --loss my_loss"),
        ("%elasticdl_train --loss mean_sq", "%elasticdl_train --loss mean_squared_error"),
        ("%elasticdl_train --optimizer=ad", "%elasticdl_train --optimizer=adadelta"),
        ("%elasticdl_train --use_async=", "%elasticdl_train --use_async=true"),
        ("%elasticdl_jobs --run", "%elasticdl_jobs --running"),
        ("%elasticdl_train --data $frame --label=spe", "%elasticdl_train --data $frame --label=species"),
        (
            "%%elasticdl_train --data $frame\n--features mass,spe",
            "%%elasticdl_train --data $frame\n--features mass,species",
        ),
        ("%elasticdl_train --data data.parquet --label ", "%elasticdl_train --data data.parquet --label x"),
        ("%elasticdl_train --data some.csv --label be", "%elasticdl_train --data some.csv --label beta"),
    ],
)
def test_tab_completes_options_and_values(shell, data, text, offered):
    shell.run(MODEL, "def my_loss(labels, output): pass", "import pandas")
    shell.run("frame = pandas.DataFrame({'mass': [1.0], 'species': ['x'], 'a name': [0]})")
    Path("some.csv").write_text("alpha,beta\n1,2\n")
    assert shell.complete(text)[0] == offered


def test_tab_offers_no_names_of_python_where_a_number_is_wanted(shell):
    assert shell.complete("%elasticdl_train --num_epochs=") == ["%elasticdl_train --num_epochs=1"]
    shell.run("number_of_things = 1")
    assert shell.complete("%elasticdl_train --num_epochs=$number_of_")[-1].endswith("$number_of_things")
    assert shell.complete("%elasticdl_train --num_epochs={number_of_")[-1].endswith("number_of_things")


def test_tab_in_the_cells_python_is_left_alone(shell):
    shell.run("number_of_things = 1")
    assert shell.complete("%%elasticdl_train\n--data x\nnumber_of_th")[-1].endswith("number_of_things")


def test_what_a_refused_cell_has_defined_can_be_trained_by_the_next_one(shell, data, capsys):
    with pytest.raises(ElasticDLError):
        shell.run(f"%%elasticdl_train --data missing.parquet\n{HELPERS}{MODEL}")
    shell.run("%elasticdl_train --model_def custom_model --data data.parquet --dry_run")
    assert "return keras.Sequential" in capsys.readouterr().out
    with pytest.raises(ZeroDivisionError):
        shell.run(f"%%elasticdl_train --data data.parquet --dry_run\nUNITS = 8\n1 / 0\nUNITS = 9\n{MODEL}")
    shell.run("%elasticdl_train --model_def custom_model --data data.parquet --dry_run")
    assert "UNITS = 8" in capsys.readouterr().out
