from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from magic_shell import Shell


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    main, hooks = sys.modules["__main__"], (sys.displayhook, sys.excepthook)
    shell = Shell()
    sys.modules["__main__"] = shell.ip.user_module
    yield shell
    sys.modules["__main__"] = main
    sys.displayhook, sys.excepthook = hooks
