from __future__ import annotations

import importlib
import sys
import types

import keras
import pytest

from elasticdl_nb.given.namedobjects import CAPTURED_MODULE, name_objects
from elasticdl_nb.runtime.errors import OptionError

SOURCE = """
class Model: pass
class Outer:
    class Inner: pass
def loss(labels, outputs): return 0
square = lambda labels, outputs: 0
model = Model()
def inside():
    def hidden(): pass
    return hidden
"""


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    (tmp_path / "zoo" / "nets").mkdir(parents=True)
    (tmp_path / "zoo" / "nets" / "__init__.py").touch()
    (tmp_path / "zoo" / "nets" / "deep.py").write_text(SOURCE)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "elsewhere.py").write_text("def loss(labels, outputs): return 1")
    monkeypatch.syspath_prepend(tmp_path / "zoo")
    monkeypatch.syspath_prepend(tmp_path / "other")
    yield str(tmp_path / "zoo")
    for name in ("nets", "nets.deep", "elsewhere"):
        sys.modules.pop(name, None)


def deep() -> types.ModuleType:
    return importlib.import_module("nets.deep")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (lambda: deep().Model, "nets.deep.Model"),
        (lambda: deep().Outer.Inner, "nets.deep.Outer.Inner"),
        (lambda: deep().loss, "nets.deep.loss"),
        (lambda: deep().square, "nets.deep.square"),
        (lambda: deep().model, "nets.deep.model"),
        (lambda: deep(), "nets.deep"),
    ],
)
def test_objects_of_modules_are_named_from_where_their_module_was_imported(zoo, value, name):
    named = name_objects("train", {"model": value(), "num_epochs": 2})
    assert named.options == {"model": name, "num_epochs": 2, "model_zoo": zoo}
    assert not named.captured


def test_names_are_shortened_to_a_zoo_that_lies_below(zoo):
    named = name_objects("train", {"model_def": deep().Model, "model_zoo": f"{zoo}/nets"})
    assert named.options["model_def"] == "deep.Model"


def test_objects_of_two_roots_do_not_fit_together(zoo):
    with pytest.raises(OptionError, match=r"loss: its module .* from .*other, but the job's model zoo is"):
        name_objects("train", {"model_def": deep().Model, "loss": importlib.import_module("elsewhere").loss})


def test_objects_of_keras_need_no_variable(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "model", "of something else", raising=False)
    given = {
        "model_def": keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]), "loss": keras.losses.Huber(),
        "callbacks": [keras.callbacks.History()],
    }  # fmt: skip
    named = name_objects("train", given)
    assert named.options == {key: f"captured_from_session.{name}" for key, name in zip(
        given, ("model_given", "loss", "callbacks"), strict=True
    )}  # fmt: skip
    assert dict(zip(given, named.captured.values(), strict=True)) == given


def test_names_and_objects_may_be_mixed(zoo):
    named = name_objects("train", {"model_def": "nets.deep.Model", "loss": deep().loss, "optimizer": "adam"})
    assert named.options == {
        "model_def": "nets.deep.Model", "loss": "nets.deep.loss", "optimizer": "adam", "model_zoo": zoo
    }  # fmt: skip


def test_objects_of_the_running_program_are_captured(monkeypatch):
    session = types.ModuleType("__main__")
    exec(SOURCE, session.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", session)
    named = name_objects("train", {"model_def": session.Model, "loss": session.square})
    assert named.options == {"model_def": f"{CAPTURED_MODULE}.Model", "loss": f"{CAPTURED_MODULE}.square"}
    assert named.captured == {"Model": session.Model, "square": session.square}


def test_models_of_our_own_zoo_are_named_in_it():
    module = types.ModuleType("elasticdl_nb.model_zoo.regressor")
    model = type("DNN", (), {"__module__": module.__name__})
    assert name_objects("train", {"model_def": model}).options == {"model_def": "regressor.DNN"}


def test_what_keras_has_goes_by_its_name():
    loss = type("Huber", (), {"__module__": "keras.src.losses.losses"})
    assert name_objects("train", {"model_def": "m", "loss": loss}).options["loss"] == "Huber"
    with pytest.raises(OptionError, match=r"model_def: .* is part of Keras"):
        name_objects("train", {"model_def": loss})


@pytest.mark.parametrize(
    ("kind", "option", "value", "message"),
    [
        ("train", "loss", lambda: deep().inside(), "loss: .* is defined inside a function"),
        ("train", "optimizer", lambda: object(), "optimizer: <object .* is not a class, function or module"),
        ("train", "optimizer", lambda: keras.losses.Huber(), "optimizer: expected a keras.Optimizer, not <"),
        ("train", "optimizer", lambda: [], "optimizer: is an empty list"),
        ("train", "model_def", lambda: keras.layers.Dense(1), "model_def: expected a keras.Model, .* keras.Sequential"),
        ("train", "callbacks", lambda: keras.callbacks.Callback, "callbacks: .*; give an object of it"),
        ("train", "callbacks", lambda: [keras.callbacks.Callback(), 3], "callbacks: .*assign it to one"),
        ("train", "model_def", lambda: pytest.Module, "model_def: _pytest.python is an installed package"),
        ("predict", "input_fn", lambda: deep().loss, "input_fn: expected a dotted name"),
    ],
)
def test_objects_without_a_name_are_refused(zoo, kind, option, value, message):
    with pytest.raises(OptionError, match=message):
        name_objects(kind, {option: value()})
