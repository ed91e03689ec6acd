"""Event files for TensorBoard, which a job does not depend on."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.core.util.event_pb2 import Event

from elasticdl_nb.runtime.storage.pauses import FIRST
from elasticdl_nb.runtime.worker import eventfiles
from elasticdl_nb.runtime.worker.eventfiles import EventFiles

FULL = Path("/dev/full")


def steps_in(path: Path) -> list[int]:
    events = [Event.FromString(record.numpy()) for record in tf.data.TFRecordDataset([os.fspath(path)])]
    return [event.step for event in events if event.HasField("summary")]


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_disk_costs_curves_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, notes = 100.0, list[tuple[str, str]]()
    monkeypatch.setattr(eventfiles.time, "time", lambda: now)
    files = EventFiles(tmp_path, lambda level, text: notes.append((level, text)), lambda: now)
    train = tmp_path / "train"
    train.mkdir()
    host = socket.gethostname()
    (train / f"events.out.tfevents.{now:.6f}.{host}").symlink_to(FULL)
    for step in (1, 2):
        files.scalars("train", step, {"loss": 0.5})
    ((level, text),) = notes
    assert level == "warning" and text.startswith("TensorBoard's event files could not be written: ")
    assert "No space left on device" in text
    now += FIRST
    for step in (3, 4):
        files.scalars("train", step, {"loss": 0.5})
    files.close()
    assert notes[1:] == [("info", "TensorBoard's event files can be written again")]
    assert steps_in(train / f"events.out.tfevents.{now:.6f}.{host}") == [3, 4]


def test_a_folder_that_cannot_be_made_is_told_once(tmp_path: Path) -> None:
    notes: list[str] = []
    (tmp_path / "runs").touch()
    files = EventFiles(tmp_path / "runs", lambda level, text: notes.append(level))
    for step in range(3):
        files.scalars("validation", step, {"auc": 0.5})
    files.close()
    assert notes == ["warning"]
