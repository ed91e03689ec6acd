from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from requirements_of_tests import is_required, why_missing

# What takes longest begins first, so that at the end no process is still at one of these while the others have none
# left. Folders and files, below this folder.
LONGEST_FIRST = (
    "notebooks/test_batch.py", "allreduce/test_allreduce_jobs.py", "recovery", "cluster/test_cluster_jobs.py",
    "sql/test_sql_jobs.py", "notebooks", "jobs", "client/test_whole_path.py", "sql/test_faces.py", "servers",
)  # fmt: skip

# Other processes have the processor, too: how long one example takes says nothing about the code.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    below = Path(__file__).parent
    ranks = {below / name: rank for rank, name in enumerate(LONGEST_FIRST)}

    def rank(item: pytest.Item) -> int:
        return min(ranks.get(place, len(ranks)) for place in (item.path, *item.path.parents))

    items.sort(key=rank)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(name): what the machine must have, by its name in requirements_of_tests")
    # How long one example takes says more about how busy the machine is.
    hypothesis.settings.register_profile("untimed", deadline=None)
    hypothesis.settings.load_profile("untimed")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            reason = why_missing(name)
            if reason and is_required(name):
                pytest.fail(f"{name} is required: {reason}", pytrace=False)
            elif reason:
                pytest.skip(f"needs {name}: {reason}")
