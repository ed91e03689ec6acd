"""Logs of jobs that do not end stay within bounds, while processes write to them."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from elasticdl_nb.runtime.storage import longlogs


def test_a_long_log_keeps_its_last_lines_and_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "worker-0.log"
    code = """
import sys
for line in sys.stdin:
    for n in range(int(line)):
        print(f"line {n:06d}")
    print("said", flush=True)
"""
    with (
        log.open("ab") as file,
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=file) as writer,
    ):
        assert writer.stdin

        def say(lines: int) -> None:
            before = log.read_bytes().count(b"said")
            assert writer.stdin
            writer.stdin.write(b"%d\n" % lines)
            writer.stdin.flush()
            while log.read_bytes().count(b"said") == before:
                assert writer.poll() is None
                time.sleep(0.01)

        say(1000)
        longlogs.cut(log, most=12_005, keep=600)
        assert log.stat().st_size == 12_005, "it is not too long"
        longlogs.cut(log, most=12_004, keep=600)
        lines = log.read_text().splitlines()
        assert lines[0] == "[11,412 bytes of earlier lines were dropped]"
        assert (
            lines[1:] == [f"line {n:06d}" for n in range(1000 - 49, 1000)] + ["said"]
            and len("\n".join(lines[1:])) < 600
        )
        say(1)
        assert log.read_text().splitlines()[-3:] == ["said", "line 000000", "said"] and b"\0" not in log.read_bytes()
        writer.stdin.close()
    longlogs.cut(tmp_path / "none.log")


def test_a_log_that_cannot_be_cut_loses_nothing(tmp_path: Path) -> None:
    log = tmp_path / "worker-0.log"
    log.write_text("".join(f"line {n:06d}\n" for n in range(1000)))
    before = log.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # no file of this process can be written
    try:
        with pytest.raises(OSError, match="File too large"):
            longlogs.cut(log, most=1000, keep=600)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert log.read_bytes() == before
