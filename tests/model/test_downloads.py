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
from elasticdl_nb.runtime.protocol import trained_model_pb2 as pb


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


@pytest.mark.parametrize("field", ["params_filename", "model_zoo"])
@pytest.mark.parametrize("name", ["../x", "/etc", "a/../../x"])
def test_a_trained_model_names_nothing_outside_of_itself(tmp_path: Path, field: str, name: str) -> None:
    message = pb.TrainedModel(params_filename="p", model_zoo="z")
    setattr(message, field, name)
    (tmp_path / "m" / "z").mkdir(parents=True)
    (tmp_path / "m" / "p").write_bytes(b"")
    (tmp_path / "m" / MESSAGE).write_bytes(message.SerializeToString())
    with pytest.raises(OptionError, match=f"outside of its own directory: '{name}'"):
        read_trained_model(tmp_path / "m")
