from __future__ import annotations

import pytest
from requirements_of_tests import is_required, why_missing


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "needs(name): browser, docker, kubernetes, mariadb or postgresql; see requirements_of_tests"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            reason = why_missing(name)
            if reason and is_required(name):
                pytest.fail(f"{name} is required: {reason}", pytrace=False)
            elif reason:
                pytest.skip(f"needs {name}: {reason}")
