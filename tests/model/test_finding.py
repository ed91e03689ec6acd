"""Zoos whose modules call the zoo by a name of its own, or whose folders hide installed packages."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.model.loading.modules import import_from_zoo
from elasticdl_nb.runtime.model.reading.missing import check_imports
from elasticdl_nb.runtime.model.reading.modelcheck import check_model
from elasticdl_nb.runtime.model.reading.source import Defined, Zoo
from elasticdl_nb.runtime.spec import JobSpec

Write = Callable[[str, str], Path]

MODEL = """
import keras
from fruit_zoo.apples.features import WIDTH, times_imported
from apples.features import WIDTH as same
import fruit_zoo.apples.features as through_own_name
import apples.features as through_root

def custom_model():
    return keras.Sequential([keras.Input((WIDTH,)), keras.layers.Dense(1)])

def loss(labels, outputs): ...
def optimizer(): ...
def feed(dataset, mode): ...
"""


@pytest.fixture
def zoo(write: Write, tmp_path: Path) -> Path:
    """A zoo whose folder has another name than its modules use, as copies do."""
    write("apples/__init__.py", "")
    write("apples/features.py", "WIDTH = 3\ntimes_imported = globals().get('times_imported', 0) + 1\n")
    write("apples/model.py", MODEL)
    return tmp_path


@pytest.fixture
def spec() -> JobSpec:
    return JobSpec.create("train", model_def="apples.model", data="x", output="y")


def test_a_module_has_both_names_and_is_imported_once(zoo: Path, spec: JobSpec) -> None:
    source = Zoo(zoo)
    assert source.own_names == {"fruit_zoo"}
    found = source.lookup(source.module("apples.model"), "WIDTH")
    assert isinstance(found, Defined) and found.module.name == "apples.features"
    assert source.locate("fruit_zoo.apples.model.custom_model") == source.locate("apples.model.custom_model")
    check_imports(str(zoo), spec)
    check_model(str(zoo), spec)
    module = import_from_zoo(source, "apples.model")
    assert module.through_own_name is module.through_root
    assert module.times_imported == 1
    assert module.through_root.__spec__.name == "apples.features"


def test_the_own_name_wins_over_the_working_directory(
    zoo: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "fruit_zoo" / "apples").mkdir(parents=True)
    (elsewhere / "fruit_zoo" / "apples" / "features.py").write_text("WIDTH = 1000\ntimes_imported = 7\n")
    monkeypatch.syspath_prepend(str(elsewhere))
    assert import_from_zoo(Zoo(zoo), "apples.model").WIDTH == 3


def test_another_zoo_forgets_the_name(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    import_from_zoo(Zoo(zoo), "apples.model")
    other = tmp_path_factory.mktemp("other")
    (other / "pears.py").write_text("TASTE = 'sweet'\n")
    assert import_from_zoo(Zoo(other), "pears").TASTE == "sweet"
    assert not [name for name in sys.modules if name.startswith("fruit_zoo")]
    with pytest.raises(ModuleNotFoundError):
        __import__("fruit_zoo.pears")


def test_a_module_that_the_zoo_lacks_is_named(zoo: Path, write: Write, spec: JobSpec) -> None:
    write("apples/model.py", MODEL.replace("fruit_zoo.apples.features import", "fruit_zoo.apples.feature import"))
    with pytest.raises(
        OptionError,
        match=r"apples/model\.py, line 3, imports fruit_zoo\.apples\.feature, which the model zoo does not have\. "
        r"Did you mean 'apples\.features'\?",
    ):
        check_imports(str(zoo), spec)


def test_a_folder_beside_the_installed_package_of_its_name(
    write: Write,
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spec: JobSpec,
) -> None:
    installed = tmp_path_factory.mktemp("site") / "site-packages"
    package = installed / "orchard"
    (package / "trees").mkdir(parents=True)
    (package / "__init__.py").write_text("from .soil import KIND\nAGE = 30\n")
    (package / "soil.py").write_text("KIND = 'loam'\n")
    (package / "trees" / "__init__.py").write_text("from ..soil import KIND\nfrom .oak import LEAF\n")
    (package / "trees" / "oak.py").write_text("LEAF = 'lobed'\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(installed)])
    write("orchard/__init__.py", "")
    write("orchard/soil.py", "KIND = 'the zoo has one too'\n")
    write(
        "orchard/net.py",
        """
        from orchard.trees import KIND, LEAF
        from orchard.trees.oak import LEAF as same
        from orchard import AGE
        from orchard.soil import KIND as own
        import keras

        def custom_model(): ...
        """,
    )
    check_imports(str(tmp_path), spec.replace(model_def="orchard.net"))
    net = import_from_zoo(Zoo(tmp_path), "orchard.net")
    assert (net.LEAF, net.same, net.AGE) == ("lobed", "lobed", 30)
    assert net.own == "the zoo has one too"
    assert net.__file__ == str(tmp_path / "orchard" / "net.py")
    with pytest.raises(ImportError, match="WEIGHT"):
        exec("from orchard import WEIGHT")
