from __future__ import annotations

from pathlib import Path

import pytest
from served_models import zoo


@pytest.fixture(scope="session")
def embedded_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo(tmp_path_factory.mktemp("zoo"))
