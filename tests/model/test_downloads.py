"""A trained model that is copied from an object store: its files stay in the folder that they are copied to."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.model.saving.trained import MESSAGE, read_trained_model


class Careless(MemoryFileSystem):
    """An object store that hands out names as they were given to it."""

    protocol = "careless"

    def find(self, path, **_options):
        return [f"{path}/{MESSAGE}", f"{path}/../../evil.py"]

    def get_file(self, rpath, lpath, **_options):
        Path(lpath).write_bytes(b"")


def test_a_file_that_would_leave_the_folder_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("careless", Careless, clobber=True)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", os.fspath(below))
    with pytest.raises(OptionError, match=r"'\.\./\.\./evil\.py'"):
        read_trained_model("careless://model")
    assert not list(tmp_path.rglob("evil.py"))
