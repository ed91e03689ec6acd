"""What a job hears from the process that goes on writing its data."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from elasticdl_nb.runtime.master.feeder import Feeder


def test_a_message_of_any_length_is_heard_and_what_comes_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "talks.py").write_text(
        "import json\n"
        'for said in ({"level": "warning", "text": "x" * 300_000}, {"done": True}):\n'
        "    print(json.dumps(said), flush=True)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    folder: Any = SimpleNamespace(path=tmp_path, feeder=lambda: ("talks", {}), log_path=lambda name: tmp_path / name)
    heard: list[str] = []

    async def listen() -> None:
        feeder = Feeder(folder, lambda level, text: heard.append(text), time.monotonic)
        while not feeder.is_done:
            await feeder.look(waiting=0, stop=True)
            await asyncio.sleep(0.01)
        await feeder.close()

    asyncio.run(listen())
    assert heard == ["x" * 300_000]
