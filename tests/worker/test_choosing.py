"""A worker's strategy is chosen in one place, and asked for nowhere else."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from elasticdl_nb.runtime import worker
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.worker.training.choosing import Choice
from elasticdl_nb.runtime.worker.training.strategies import _STRATEGIES

ROOM = Path(str(worker.__file__)).parent
CHOOSES = "training/choosing.py"
MAPS = "training/strategies.py"
ASKING = {"uses_servers", "uses_allreduce", "trains_alone", "distribution_strategy"}


def questions(source: str) -> list[str]:
    """Where a module asks which strategy it has: by the job's options, by a choice, by the type of an object."""
    found = []
    for node in ast.walk(ast.parse(source)):
        text = ast.unparse(node) if isinstance(node, (ast.Attribute, ast.Call, ast.Compare)) else ""
        if isinstance(node, ast.Attribute) and (node.attr in ASKING or text in {f"Choice.{c.name}" for c in Choice}):
            found.append(text)
        if isinstance(node, ast.Call) and text.startswith(("isinstance(", "issubclass(")):
            found += [text] if any(word in text for word in ("Trainer", "Strategy", "Training")) else []
        if isinstance(node, ast.Compare) and text.startswith("type(") and "Trainer" in text:
            found.append(text)
    return found


@pytest.mark.parametrize(
    "source",
    [
        "if self._spec.uses_servers: pass",
        "if spec.distribution_strategy == 'AllreduceStrategy': pass",
        "if isinstance(self._trainer, (ring.AllreduceTrainer, int)): pass",
        "if type(trainer) is LocalTrainer: pass",
        "if part.choice is Choice.RING: pass",
    ],
)
def test_questions_are_found(source: str) -> None:
    assert len(questions(source)) == 1


def test_only_one_place_asks_which_strategy_a_worker_has() -> None:
    asking = {str(path.relative_to(ROOM)): questions(path.read_text()) for path in ROOM.rglob("*.py")}
    assert {"spec.uses_servers", "spec.uses_allreduce", "spec.trains_alone"} <= {*asking.pop(CHOOSES)}
    assert len(asking.pop(MAPS)) == len(Choice)  # from each choice to its strategy
    assert {path: found for path, found in asking.items() if found} == {}


@pytest.mark.parametrize(
    ("options", "choice"),
    [
        ({}, Choice.ALONE),
        ({"distribution_strategy": "ParameterServerStrategy"}, Choice.SERVERS),
        ({"distribution_strategy": "AllreduceStrategy"}, Choice.RING),
        ({"kind": "evaluate", "distribution_strategy": "ParameterServerStrategy"}, Choice.NOT_AT_ALL),
        ({"kind": "predict", "distribution_strategy": "AllreduceStrategy"}, Choice.NOT_AT_ALL),
    ],
)
def test_the_choice_follows_the_jobs_options(options: dict[str, str], choice: Choice) -> None:
    assert Choice.of(JobSpec(**{"kind": "train", "model_def": "m", **options})) is choice


def test_every_choice_has_a_strategy_of_its_own() -> None:
    assert set(_STRATEGIES) == set(Choice)
    assert len(set(_STRATEGIES.values())) == len(Choice)


def test_what_speaks_to_the_master_first_loads_no_tensorflow() -> None:
    code = "import sys, elasticdl_nb.runtime.worker.part; print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
