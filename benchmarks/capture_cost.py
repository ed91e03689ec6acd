"""What capture and the check cost: a notebook of 1,500 cells whose model holds 200 MB of state.

Run: python benchmarks/capture_cost.py
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "capture"))

CELLS = 1500
MODEL = """
import keras, numpy as np
W = np.random.default_rng(0).normal(size=(25_000_000,)).astype("float32")
model = keras.Sequential([keras.Input((2000,)), keras.layers.Dense(12_500), keras.layers.Dense(4)])
model.layers[0].kernel.assign(np.random.default_rng(1).normal(size=(2000, 12_500)))
def custom_model(): return model
def use(): return W[0]
"""
TIMEOUT = 300.0


def memory(kind: str) -> float:
    """Megabytes of memory: in use now (VmRSS), or at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(kind))) / 1e3


def main() -> None:
    """Measure the first call, for which the process for checks was started with TensorFlow's import, and the next."""
    from notebook_shell import Notebook

    from elasticdl_nb.capture.captured import write_zoo
    from elasticdl_nb.capture.checker import checker, stop_checker
    from elasticdl_nb.capture.checking import begin_check, report

    notebook = Notebook()
    notebook.run(MODEL, *(f"SIZE_{i} = {i}\ndef helper_{i}(x): return x + SIZE_{i}" for i in range(CELLS)))
    process = checker()
    process.wait(process.ask("/", "json", [], []), TIMEOUT)  # as after a minute of other work
    for turn in ("first", "second"):
        Path("/proc/self/clear_refs").write_text("5")  # forget the highest use of memory so far
        before, cpu = memory("VmRSS"), time.process_time()
        began = time.perf_counter()
        captured = notebook.capture("custom_model", "use")
        packaged = time.perf_counter()
        with tempfile.TemporaryDirectory() as zoo:
            write_zoo(captured, zoo, "packaged")
            report(begin_check(captured, ["custom_model", "use"], os.path.realpath(zoo), "packaged").finish())
        checked = time.perf_counter()
        size = captured.state.size / 1e6 if captured.state else 0.0
        more = memory("VmHWM") - before
        print(
            f"{turn}: capture {packaged - began:.2f} s, check {checked - packaged:.2f} s "
            f"({time.process_time() - cpu:.2f} s of processor time here; machine's load {os.getloadavg()[0]:.1f}); "
            f"{size:.0f} MB of state, {more:.0f} MB more memory here"
        )
    stop_checker()


if __name__ == "__main__":
    main()
