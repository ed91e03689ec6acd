"""Versions that are removed or replaced while they are loaded."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from elasticdl_nb.runtime.errors import ModelError, OptionError
from elasticdl_nb.runtime.serving import versions
from elasticdl_nb.runtime.serving.metrics import Metrics
from elasticdl_nb.runtime.serving.versions import Versions


def put(folder: Path, number: int) -> None:
    (folder / str(number)).mkdir()
    (folder / str(number) / "trained_model.pb").touch()


def test_what_vanishes_while_it_is_loaded_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def load(path: str) -> Any:
        name = Path(path).name
        loaded.append(name)
        if name == "1":  # while it is read, the next one comes, and this one goes
            put(tmp_path, 2)
            shutil.rmtree(path)
            raise OSError("no such file")
        if name == "3":  # it was read when it went
            shutil.rmtree(path)
        if name == "4":
            raise ModelError("broken")
        return name

    async def drained() -> None:
        pass

    monkeypatch.setattr(versions, "ServedModel", load)
    metrics = Metrics()
    served = Versions(str(tmp_path), lambda model: SimpleNamespace(drained=drained), metrics)  # type: ignore[arg-type,return-value]

    async def check() -> None:
        with pytest.raises(OptionError):
            await served.begin()
        put(tmp_path, 1)
        await served.begin()
        assert (served.current.number, loaded) == (2, ["1", "2"])
        put(tmp_path, 3)
        await served.look()
        assert served.current.number == 3
        put(tmp_path, 4)
        await served.look()
        assert (served.current.number, served.problem) == (3, "broken")

    asyncio.run(check())
    assert "versions_failed_total 1" in metrics.text() and "versions_loaded_total 2" in metrics.text()
