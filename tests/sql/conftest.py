from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Jobs and models of a test stay in the test's own directory."""
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
