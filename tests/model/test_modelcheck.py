"""Bad models are refused from their source alone."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.model.reading.missing import check_imports
from elasticdl_nb.runtime.model.reading.modelcheck import built_in_zoo, check_model, data_reader_of
from elasticdl_nb.runtime.spec import JobSpec

MODEL = """
    import keras
    from fintech.losses import squared

    class Base(keras.Model):
        def default_optimizer(self, momentum=0.0):
            return keras.optimizers.SGD(0.1, momentum)

    class MyKerasModel(Base):
        def __init__(self, hidden_units, learning_rate=0.1):
            super().__init__()

        def default_loss(self):
            return squared

        def default_input(self, record):
            return record, record

    class NoInput(Base):
        default_loss = "mse"

    class Layered(keras.layers.Layer):
        pass

    class Plain:
        pass

    class Rich(Unheard):
        pass

    limits = [1, 2]

    def credit_data_processor(record):
        return record, record
"""
LOSSES = "def squared(labels, outputs):\n    return (labels - outputs) ** 2\n"


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    write(tmp_path, "fintech/__init__.py", MODEL)
    write(tmp_path, "fintech/losses.py", LOSSES)
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))


def check(zoo: Path | str, model_def: str = "fintech.MyKerasModel", **given: Any) -> None:
    given.setdefault("params", "hidden_units=[10, 100, 20, 5]")
    spec = JobSpec.create("train", model_def=model_def, data="x", output="y", **given)
    check_model(str(zoo), spec)


def refusal(zoo: Path, option: str, *parts: str, **given: Any) -> None:
    with pytest.raises(OptionError) as caught:
        check(zoo, **given)
    assert caught.value.option == option, caught.value
    for part in parts:
        assert part in str(caught.value)


def test_a_sound_class_passes(zoo: Path) -> None:
    check(zoo, params="hidden_units=[1], learning_rate=0.01, momentum=0.9", input_fn="fintech.credit_data_processor")


@pytest.mark.parametrize(
    ("given", "option", "parts"),
    [
        ({"model_def": "fintek.MyKerasModel"}, "model_def", ["'fintek.MyKerasModel'", "'fintech'"]),
        ({"model_def": "fintech.MyKerasModle"}, "model_def", ["Did you mean 'MyKerasModel'?"]),
        ({"model_def": "fintech.Layered"}, "model_def", ["not a keras.Model", "keras.layers.Layer", "line"]),
        ({"model_def": "fintech.Plain"}, "model_def", ["not a keras.Model", "nothing"]),
        ({"model_def": "fintech.limits"}, "model_def", ["[1, 2]", "not a keras.Model class"]),
        ({"model_def": "fin tech.X"}, "model_def", ["not a dotted Python name"]),
        ({"model_def": "fintech"}, "model_def", ["fintech has several models", "fintech.NoInput"]),
        ({"model_def": "fintech.losses"}, "model_def", ["has no model", "custom_model"]),
        ({"model_def": "fintech.NoInput", "params": ""}, "input_fn", ["default_input", "input_fn"]),
        ({"loss": "sqared"}, "loss", ["Keras has no loss", "'squared'"]),
        ({"loss": "fintech.losses.cubed"}, "loss", ["fintech/losses.py", "'cubed'"]),
        ({"loss": "nowhere_at_all.cubed"}, "loss", ["no module 'nowhere_at_all'"]),
        ({"optimizer": "adamm"}, "optimizer", ["Did you mean 'adam'?"]),
        ({"input_fn": "fintech.credit_data_procesor"}, "input_fn", ["'credit_data_processor'"]),
        ({"input_fn": "sqlflow.elasticdl_input_functio"}, "input_fn", ["'elasticdl_input_function'"]),
        ({"params": "hidden_unit=[1]"}, "params", ["needs hidden_units"]),
        ({"params": "hidden_units=[1], momentun=2"}, "params", ["momentun", "Did you mean 'momentum'?"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(zoo: Path, given: dict[str, Any], option: str, parts: list[str]) -> None:
    refusal(zoo, option, *parts, **given)


@pytest.mark.parametrize(
    "given",
    [
        {"loss": "squared"},
        {"loss": "mse"},
        {"loss": "MeanSquaredError"},
        {"loss": "fintech.losses.squared"},
        {"loss": "keras.losses.mse"},
        {"optimizer": "Adam", "params": "hidden_units=[1], beta_1=0.8"},
        {"input_fn": "credit_data_processor"},
        {"input_fn": "sqlflow.elasticdl_input_function"},
        {"dataset_fn": "MyKerasModel.default_input"},
        {"model_def": "fintech.Rich", "params": "anything=1"},
    ],
)
def test_names_are_found_where_the_loader_finds_them(zoo: Path, given: dict[str, Any]) -> None:
    check(zoo, **given)


def test_missing_zoo(tmp_path: Path) -> None:
    refusal(tmp_path / "absent", "model_zoo", "no such directory")


def test_syntax_error_names_file_and_line(zoo: Path) -> None:
    write(zoo, "broken.py", "import keras\ndef f(:\n    pass\n")
    refusal(zoo, "model_def", "broken.py, line 2", model_def="broken.f")


def test_missing_loss_and_optimizer_of_a_function(tmp_path: Path) -> None:
    write(
        tmp_path, "m.py", "import keras\ndef custom_model(): return keras.Sequential()\ndef feed(d, mode): return d\n"
    )
    refusal(tmp_path, "loss", "m.py has no loss", model_def="m.custom_model", params="")
    refusal(tmp_path, "optimizer", "m.py has no optimizer", model_def="m", params="", loss="mse")
    refusal(
        tmp_path, "params", "lr", model_def="m", params="lr=1", loss="mse", optimizer="sgd"
    )  # fmt: skip


def test_a_class_is_found_in_the_one_file_of_its_folder(tmp_path: Path) -> None:
    write(tmp_path, "fintech/credit.py", MODEL.replace("fintech.losses", "fintech.lib"))
    write(tmp_path, "fintech/lib.py", LOSSES)
    check(tmp_path)
    write(tmp_path, "fintech/other.py", "class MyKerasModel:\n    pass\n")
    refusal(tmp_path, "model_def", "several files", "fintech.credit.MyKerasModel", "fintech.other.MyKerasModel")


@pytest.mark.parametrize(
    "text",
    [
        "from elsewhere import *",
        "globals()['MyKerasModel'] = make()",
        "def __getattr__(name): return make(name)",
        "from elsewhere import MyKerasModel",
        "try:\n    from a import MyKerasModel\nexcept ImportError:\n    MyKerasModel = None",
        "for MyKerasModel in make(): pass",
        "import keras\n@register\nclass MyKerasModel: pass",
        "import keras\nclass MyKerasModel(keras.Model, metaclass=Magic): pass",
        "from .lib import *",
    ],
)
def test_what_the_source_does_not_settle_is_accepted(tmp_path: Path, text: str) -> None:
    write(tmp_path, "fintech/__init__.py", text)
    write(tmp_path, "fintech/lib.py", "from far import MyKerasModel")
    check(tmp_path, params="a=1", loss="mse", optimizer="adam", input_fn="keras.ops.abs")


def test_a_base_class_elsewhere_in_the_zoo_is_followed(tmp_path: Path) -> None:
    write(tmp_path, "lib/base.py", "import tensorflow as tf\nclass L(tf.keras.layers.Layer): pass\n"
                                   "class M(tf.keras.Model):\n    def default_loss(self): pass\n")  # fmt: skip
    write(tmp_path, "a.py", "from lib import base\nclass X(base.L): pass\n"
                            "class Y(base.M):\n    def __init__(self, k=1): pass\n"
                            "    default_input = default_optimizer = None\n")  # fmt: skip
    refusal(tmp_path, "model_def", "not a keras.Model", model_def="a.X")
    check(tmp_path, model_def="a.Y", params="k=2")


def test_evaluation_checks_the_functions_it_replaces(zoo: Path) -> None:
    spec = JobSpec.create("evaluate", trained_model="t", data="x", input_fn="fintech.nothing")
    with pytest.raises(OptionError, match="input_fn"):
        check_model(str(zoo), spec)


def test_the_check_is_quick() -> None:
    spec = JobSpec.create("train", model_def="regressor.DNN", params="hidden_units=[10]", data="x", output="y")
    work = []
    for _ in range(4):  # the first time there is something to import
        begin = time.process_time()
        check_model(built_in_zoo(), spec)
        work.append(time.process_time() - begin)
    assert min(work) < 0.1


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("def custom_data_reader(data): ...", True),
        ("from fintech.losses import squared as custom_data_reader", True),
        ("from somewhere.else_ import custom_data_reader", True),
        ("custom_data_reader = None", False),
        ("", False),
        # Every model that imports the names of a package would have one, if doubt were enough.
        ("from keras.layers import *", False),
    ],
)
def test_a_custom_data_reader_is_found_in_the_models_module(zoo: Path, code: str, found: bool) -> None:
    write(zoo, "net.py", f"{code}\ndef custom_model(): ...\n")
    spec = JobSpec.create("train", model_def="net.custom_model", data="x", output="y")
    assert data_reader_of(str(zoo), spec) == ("custom_data_reader" if found else "")


def test_the_option_wins_and_is_checked(zoo: Path) -> None:
    spec = JobSpec.create(
        "train", model_def="fintech.MyKerasModel", data="x", custom_data_reader="fintech.losses.squared"
    )
    assert data_reader_of(str(zoo), spec) == "fintech.losses.squared"
    refusal(zoo, "custom_data_reader", "defines no 'reader'", custom_data_reader="reader")


def test_imports_of_modules_that_this_version_lacks(zoo: Path) -> None:
    spec = JobSpec.create("predict", trained_model="x", data="x", output="y.csv").replace(model_def="shop.Model")
    write(zoo, "helpers.py", "import os\nfrom elasticdl_nb.runtime.mode import Mode\n")
    write(zoo, "shop.py", "import helpers\nfrom elasticdl_nb.runtime.model import batched\nclass Model: ...\n")
    check_imports(str(zoo), spec)
    old = "try:\n    import elasticdl_nb.older\nexcept ImportError:\n    pass\n"
    write(zoo, "helpers.py", f"{old}import elasticdl_nb.runtime.modes\n")
    with pytest.raises(OptionError, match=r"trained_model: helpers.py, line 5, imports elasticdl_nb.runtime.modes, .*"
                       r"train the model again"):  # fmt: skip
        check_imports(str(zoo), spec)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("import nowhere_to_be_found.at_all", "which is not installed. To install: pip install nowhere_to_be_found"),
        ("from elasticai_api.io import x", "which is not installed. ElasticDL's interface for training loops"),
        ("from elasticdl.python.master.master import Master", "which elasticdl_nb does not have; docs/elasticdl.md"),
        ("from elasticdl.python.common.constants import Modes", "whose Modes elasticdl_nb does not have"),
        ("from elasticdl_preprocessing.layers import Hash", "whose Hash elasticdl_nb does not have"),
        ("from elasticdl_preprocessing.layers.crossing import X", "which elasticdl_nb does not have"),
        ("from shop.sales import x", "which the model zoo does not have"),
    ],
)
def test_imports_of_what_is_not_there_are_refused(zoo: Path, line: str, problem: str) -> None:
    spec = JobSpec.create("train", model_def="shop.net", data="x", output="y")
    write(zoo, "shop/__init__.py", "")
    write(zoo, "shop/net.py", f"import os\n{line}\nclass Model: ...\n")
    with pytest.raises(OptionError) as refused:
        check_imports(str(zoo), spec)
    assert str(refused.value).startswith(f"model_def: shop/net.py, line 2, imports {line.split()[1]}, ")
    assert problem in str(refused.value)
    # What may not be needed, and what may be found elsewhere, is left to the worker.
    write(zoo, "shop/net.py", f"try:\n    {line}\nexcept ImportError:\n    pass\n")
    check_imports(str(zoo), spec)


def test_imports_from_places_that_only_the_job_knows(zoo: Path) -> None:
    spec = JobSpec.create("train", model_def="shop", data="x", output="y", envs={"PYTHONPATH": "/opt/more"})
    write(zoo, "shop.py", "import nowhere_to_be_found\n")
    check_imports(str(zoo), spec)
    write(zoo, "shop.py", "import sys\nsys.path.append('/opt/more')\nimport nowhere_to_be_found\n")
    check_imports(str(zoo), spec.replace(envs={}))


def test_maxcompute_is_refused_where_it_would_be_used(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = JobSpec.create("train", model_def="shop", data="x", output="y")
    write(zoo, "shop.py", "from elasticdl.python.data.odps_io import ODPSWriter, is_odps_configured\n")
    check_imports(str(zoo), spec)
    for name in ("MAXCOMPUTE_PROJECT", "MAXCOMPUTE_AK", "MAXCOMPUTE_SK"):
        check_imports(str(zoo), spec)
        monkeypatch.setenv(name, "x")
    with pytest.raises(OptionError, match=r"shop\.py, line 1, imports elasticdl.python.data.odps_io, and "
                       r"MAXCOMPUTE_PROJECT, .* are set, so it would use MaxCompute"):  # fmt: skip
        check_imports(str(zoo), spec)
    monkeypatch.undo()
    reader = "def custom_data_reader(data_origin): return ODPSDataReader(table=data_origin)\n"
    write(zoo, "shop.py", f"from elasticdl.python.data.reader.odps_reader import ODPSDataReader\n{reader}")
    with pytest.raises(OptionError, match="custom_data_reader reads from MaxCompute, which elasticdl_nb does not"):
        check_imports(str(zoo), spec)
