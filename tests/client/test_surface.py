from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import elasticdl_nb
from elasticdl_nb.cli.arguments import JobParser
from elasticdl_nb.runtime.spec import KINDS, options

FUNCTIONS = {"train": elasticdl_nb.train, "evaluate": elasticdl_nb.evaluate, "predict": elasticdl_nb.predict}
OWN = {"wait", "detach", "progress"}
ARGUMENTS = {"mask_zero", "input_length", "combiner"}
"""What docs/elasticdl.md says of a name, beside names."""


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_every_public_name_is_there():
    for name in elasticdl_nb.__all__:
        assert getattr(elasticdl_nb, name) is not None
        assert name in dir(elasticdl_nb)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        elasticdl_nb.trian  # noqa: B018


def test_importing_is_cheap():
    loaded = python(
        "import sys, time; start = time.process_time(); import elasticdl_nb; took = time.process_time() - start\n"
        "assert took < 0.2, took\n"
        "elasticdl_nb.train, elasticdl_nb.Job, elasticdl_nb.jobs, elasticdl_nb.Mode\n"
        "print(*(name for name in ('tensorflow', 'keras', 'grpc', 'numpy', 'pyarrow') if name in sys.modules))"
    )
    assert loaded.strip() == ""


@pytest.mark.parametrize("kind", KINDS)
def test_python_and_the_command_line_take_the_same_options(kind):
    declared = {option.name for option in options(kind)}
    python_names = set(inspect.signature(FUNCTIONS[kind]).parameters) - OWN
    flags = {action.dest for action in JobParser(kind)._actions} - {"help", "detach", "dry_run", "json", "quiet"}
    assert python_names == flags == declared


@pytest.mark.parametrize("kind", KINDS)
def test_help_explains_every_option(kind):
    function = FUNCTIONS[kind]
    for option in options(kind):
        assert f"    {option.name}: " in function.__doc__
        parameter = inspect.signature(function).parameters[option.name]
        assert (parameter.default is inspect.Parameter.empty) == option.required
    assert all(f"    {name}: " in function.__doc__ for name in OWN)


PAGE = Path(__file__).parents[2] / "docs" / "elasticdl.md"
NAMED = [
    (module, name)
    for module, what in re.findall(r"^\| `(elasticdl[\w.]*)` \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    for name in re.findall(r"`([A-Za-z_]\w*)`", what)
    if name not in ARGUMENTS
]


@pytest.mark.parametrize(("module", "name"), NAMED)
def test_the_compatibility_packages_have_what_the_page_lists(module, name):
    found = getattr(importlib.import_module(module), name)
    if inspect.isclass(found) and module == "elasticdl_preprocessing.layers":
        own = importlib.import_module(f"{module}.{re.sub('(?<!^)(?=[A-Z])', '_', name).lower()}")
        assert getattr(own, name) is found


def test_the_page_lists_what_the_compatibility_packages_have():
    listed = {module for module, _ in NAMED}
    for package in ("elasticdl", "elasticdl_preprocessing"):
        root = Path(importlib.util.find_spec(package).submodule_search_locations[0])
        for path in root.rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            module = ".".join([package, *parts])
            tree = ast.parse(path.read_text())
            public = [ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)
                      and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__"]  # fmt: skip
            if path.name != "__init__.py" and public:
                assert module in listed, module
                assert {(module, name) for name in public[0]} <= set(NAMED) | {
                    (module, "ConcatenatedCategoricalColumn")
                }


def test_maxcompute_is_importable_but_cannot_be_used():
    from elasticdl.python.data.odps_io import ODPSWriter, is_odps_configured
    from elasticdl.python.data.reader.odps_reader import ParallelODPSDataReader

    assert not is_odps_configured()
    for wanted in (ODPSWriter, ParallelODPSDataReader):
        with pytest.raises(
            elasticdl_nb.ElasticDLError, match=f"{wanted.__name__} needs MaxCompute, which elasticdl_nb"
        ):
            wanted("project", columns=["a"])


def test_helpers_for_models(tmp_path):
    from elasticdl.python.common import model_utils
    from elasticdl.python.common.log_utils import default_logger, get_logger

    assert model_utils.get_module_file_path("zoo", "a.b.custom_model") == "zoo/a/b.py"
    assert model_utils.get_dict_from_params_str("a=[1, 2]; b='x=y';c=plain") == {"a": [1, 2], "b": "x=y", "c": "plain"}
    (tmp_path / "one.py").write_text("VALUE = 3\n")
    assert model_utils.load_module(str(tmp_path / "one.py")).VALUE == 3
    with pytest.raises(elasticdl_nb.ElasticDLError, match="is not a Python file"):
        model_utils.load_module(str(tmp_path / "two.py"))
    assert get_logger("elasticdl") is default_logger and default_logger.handlers


def test_readers_of_elasticdl(tmp_path):
    from elasticdl.python.data.reader.data_reader_factory import create_data_reader

    elasticdl_nb.data.recordio.write_file(str(tmp_path / "records" / "no-suffix"), [b"one", b"two", b"three"])
    (tmp_path / "lines.csv").write_text("1,2\n3,4\n5,6\n")
    for origin, wanted in [("records", [b"two", b"three"]), ("lines.csv", ["3,4\n", "5,6\n"])]:
        reader = create_data_reader(str(tmp_path / origin), records_per_task=2)
        [(name, (start, count))] = reader.create_shards().items()
        assert (start, count) == (0, 3)
        assert list(reader.read_records(types.SimpleNamespace(shard_name=name, start=1, end=3))) == wanted
    with pytest.raises(elasticdl_nb.ElasticDLError, match="reader_type='Avro'; use 'CSV' or 'RecordIO'"):
        create_data_reader("x", reader_type="Avro")


def test_the_compatibility_package_is_the_same_thing():
    import elasticdl
    from elasticdl.python.common.constants import Mode
    from elasticdl.python.elasticdl import client

    assert elasticdl.train is elasticdl_nb.train
    assert elasticdl.predict is elasticdl_nb.predict
    assert Mode is elasticdl_nb.Mode
    assert client.main(["--version"]) == 0
    with pytest.raises(AttributeError, match="'elasticdl' has no attribute"):
        elasticdl.trian  # noqa: B018
