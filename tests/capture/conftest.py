from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from notebook_shell import Notebook


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    main, hooks = sys.modules["__main__"], (sys.displayhook, sys.excepthook)
    notebook = Notebook()
    sys.modules["__main__"] = notebook.shell.user_module
    yield notebook
    notebook.recorder.stop()
    sys.modules["__main__"] = main
    sys.displayhook, sys.excepthook = hooks
    for name in sys.modules.keys() - before:
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if origin.startswith(str(tmp_path)) or name.startswith("captured_"):
            del sys.modules[name]
