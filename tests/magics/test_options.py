"""Reading what stands behind a magic's name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticdl_nb.magics.expand import ReferenceProblem, expand
from elasticdl_nb.magics.options import MagicError, read_request, split
from elasticdl_nb.runtime.errors import OptionError


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("--data a.csv --num_epochs=3", [("data", "a.csv"), ("num_epochs", "3")]),
        ("--data my file.csv\n--overwrite", [("data", "my file.csv"), ("overwrite", None)]),
        ("--params units=[10, 100], lr=0.1 --wait", [("params", "units=[10, 100], lr=0.1"), ("wait", None)]),
        ("--params \"name='a --b'\" --wait", [("params", "name='a --b'"), ("wait", None)]),
        ("--data 'a b' # --overwrite", [("data", "a b")]),
        ("--data a.csv # it's\n--wait", [("data", "a.csv"), ("wait", None)]),
        ("--data a#b.csv --output=", [("data", "a#b.csv"), ("output", "")]),
        ("--envs A=-1,B=--2", [("envs", "A=-1,B=--2")]),
    ],
)
def test_values_reach_to_the_next_option(text, pairs):
    assert split(text) == ([], pairs)


def test_an_open_quote_or_bracket_is_an_error():
    with pytest.raises(MagicError, match=r"closing \] is missing"):
        split("--params units=[10 --wait")
    with pytest.raises(MagicError, match="closing ' is missing"):
        split("--data 'a b")


_TEXT = st.text(alphabet="abcz059_.,:;/*@é", min_size=1, max_size=12)


@given(st.lists(st.tuples(st.sampled_from(["data", "num_epochs", "envs"]), _TEXT), max_size=4))
def test_what_is_written_is_read(pairs):
    for form in ("--{} {}", "--{}={}", "--{}='{}'"):
        text = " ".join(form.format(*pair) for pair in pairs)
        assert split(text) == ([], pairs)


@given(st.text())
def test_any_text_is_read_or_refused(text):
    try:
        split(text)
    except MagicError as error:
        assert "missing" in str(error)


def test_references_become_objects_or_text():
    frame = object()
    names = {"frame": frame, "n": 3, "folder": "out", "units": [8, 4]}
    assert expand("$frame", names) is frame
    assert expand("{n + 1}", names) == 4
    assert expand("$folder/m-{n}.csv", names) == "out/m-3.csv"
    assert expand("$folder.csv", names) == "out.csv"
    assert expand("hidden_units={units}", names) == "hidden_units=[8, 4]"
    assert expand("vocabulary={'a': 1}", names) == "vocabulary={'a': 1}"
    assert expand("$$5", names) == "$5"


def test_environment_variables_are_left_for_the_option(monkeypatch):
    monkeypatch.setenv("DATA_FOLDER", "/data")
    assert expand("$DATA_FOLDER/a.csv", {}) == "$DATA_FOLDER/a.csv"
    assert read_request("--data $DATA_FOLDER/a.csv", {}, ("train",)).given == {"data": "$DATA_FOLDER/a.csv"}


@pytest.mark.parametrize(
    ("text", "message"),
    [("$frme", "Did you mean 'frame'"), ("$frame.colums", "no attribute 'colums'"), ("{1 / 0}", "ZeroDivisionError")],
)
def test_references_to_nothing_are_errors(text, message):
    with pytest.raises(ReferenceProblem, match=message):
        expand(text, {"frame": object()})


def test_switches_and_the_magics_own_options():
    request = read_request("--overwrite --no_shuffle --no-wait --as second --num-epochs 2", {}, ("train",))
    assert request.given == {"overwrite": True, "shuffle": False, "num_epochs": "2"}
    assert request.own == {"wait": False, "as": "second"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--num_epoch 2", "Did you mean 'num_epochs'"),
        ("--wiat", "Did you mean 'wait'"),
        ("--trained_model m", "only of evaluate and predict"),
        ("--num_epochs", "num_epochs: needs a value"),
        ("--data a --data b", "data: given twice"),
        ("--dry_run yes", "takes no value"),
        ("--no_shuffle yes", "takes no value"),
    ],
)
def test_mistakes_name_the_option(text, message):
    with pytest.raises(OptionError, match=message):
        read_request(text, {}, ("train",))
