from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import elasticdl_nb
from elasticdl_nb.cli.arguments import JobParser
from elasticdl_nb.runtime.spec import KINDS, options

FUNCTIONS = {"train": elasticdl_nb.train, "evaluate": elasticdl_nb.evaluate, "predict": elasticdl_nb.predict}
OWN = {"wait", "detach", "progress"}


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
        "import sys, time; start = time.perf_counter(); import elasticdl_nb; took = time.perf_counter() - start\n"
        "assert took < 0.1, took\n"
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
