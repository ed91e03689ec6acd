"""The public API: what docs/api.md lists is what there is, and nothing sends users anywhere else."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
# Of these, only the documented names are for users.
IN_PART = ("elasticdl_nb.capture", "elasticdl_nb.sql.engines", "elasticdl_nb.sql.session", "elasticdl_nb.sql.submitter")


def documented() -> dict[str, list[str]]:
    listed: dict[str, list[str]] = {}
    for line in (ROOT / "docs" / "api.md").read_text().splitlines():
        if heading := re.fullmatch(r"## `(.+)`", line):
            listed[heading[1]] = []
        elif row := re.match(r"\| `(\w+)` \| \S", line):
            listed[list(listed)[-1]].append(row[1])
    return listed


def module_of(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        package, _, attribute = name.rpartition(".")
        module = getattr(importlib.import_module(package), attribute)
        assert isinstance(module, ModuleType)
        return module


@pytest.mark.parametrize(("name", "names"), documented().items(), ids=list(documented()))
def test_what_is_documented_is_what_there_is(name, names):
    module = module_of(name)
    assert len(set(names)) == len(names)
    for one in names:
        # Names of a type, which have no docstring, count as documented.
        assert getattr(module, one) is not None
    if name not in IN_PART:
        assert sorted(names) == sorted(module.__all__)


def test_every_public_function_and_class_explains_itself():
    for name, names in documented().items():
        for one in names:
            value = getattr(module_of(name), one)
            if callable(value) and getattr(value, "__module__", "").startswith("elasticdl_nb"):
                assert value.__doc__, f"{name}.{one}"


def for_users() -> list[Path]:
    """What users read: documentation, notebooks, and the code they are given to copy."""
    folders = [("docs", "*.md"), ("notebooks", "*.ipynb"), ("model_zoo", "*"), ("elasticdl_nb/skeleton", "my_model.py")]
    found = [path for folder, pattern in folders for path in (ROOT / folder).rglob(pattern) if path.is_file()]
    developers = ROOT / "docs" / "architecture.md", ROOT / "docs" / "api.md", ROOT / "docs" / "decisions"
    return [ROOT / "README.md", *(path for path in found if not any(path.is_relative_to(one) for one in developers))]


def test_users_are_never_sent_into_the_runtime():
    paths = for_users()
    assert len(paths) > 40
    inside = re.compile(rb"elasticdl_nb[./]runtime|from elasticdl_nb import runtime")
    assert [str(path) for path in paths if path.suffix != ".pyc" and inside.search(path.read_bytes())] == []


def test_what_programs_imported_before_still_works():
    import elasticdl_nb
    from elasticdl_nb.runtime.chaos import parse_schedule, unleash
    from elasticdl_nb.runtime.data import recordio
    from elasticdl_nb.runtime.data.convert import convert
    from elasticdl_nb.runtime.mode import Mode
    from elasticdl_nb.runtime.model import batched

    assert (Mode, batched) == (elasticdl_nb.Mode, elasticdl_nb.batched)
    assert (recordio, convert) == (elasticdl_nb.data.recordio, elasticdl_nb.data.convert)
    assert parse_schedule is elasticdl_nb.chaos.parse_schedule and callable(unleash)


def test_readers_read_what_writers_write(tmp_path):
    import numpy as np

    from elasticdl_nb import data

    path = str(tmp_path / "x.parquet")
    with data.open_writer(path, "parquet") as writer:
        writer.write({"a": np.arange(5)})
    reader = data.open_reader(path)
    reader.check()
    assert reader.metadata.column_names == ["a"]
    assert reader.files() == [data.FileRecords(path, 5)]
    assert [batch.to_pydict() for batch in reader.read(path, 1, 3)] == [{"a": [1, 2]}]
    data.recordio.write_file(str(tmp_path / "x.rec"), [b"a", b"b"])
    (records,) = data.open_reader([str(tmp_path / "x.rec")]).read(str(tmp_path / "x.rec"), 0, 2)
    assert isinstance(records, data.Records) and records.to_list() == [b"a", b"b"]
