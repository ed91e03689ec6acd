"""A job's history, as Keras' `History.history` has it."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from elasticdl_nb.runtime.protocol import master_pb2 as pb

if TYPE_CHECKING:
    import pandas as pd


class History(dict[str, list[float]]):
    """The values of each metric, epoch by epoch: `loss`, the model's metrics, and `val_…` those of evaluations.

    NaN where an epoch has no such value, for example where it was not evaluated. `epoch` has the epochs' numbers, from
    0, and `step` the model's steps at their ends.
    """

    def __init__(self, ended: Sequence[pb.EpochEnded], evaluations: Sequence[pb.Evaluation]) -> None:
        """Collect what the master has kept of the epochs that have ended, and of the evaluations."""
        starts = [0, *(one.step for one in ended)]
        logs = [
            {**_evaluated(evaluations, start, one.step), **one.logs} for start, one in zip(starts, ended, strict=False)
        ]
        names = sorted({name for one in logs for name in one}, key=_order)
        super().__init__({name: [one.get(name, math.nan) for one in logs] for name in names})
        self.epoch = [one.epoch for one in ended]
        self.step = [one.step for one in ended]

    def df(self) -> pd.DataFrame:
        """Return the history as a pandas frame with a row for each epoch; raises ImportError without pandas."""
        if importlib.util.find_spec("pandas") is None:
            raise ImportError("df() needs pandas: pip install pandas")
        import pandas as pd

        return pd.DataFrame(dict(self), index=pd.Index(self.epoch, name="epoch"))


class Tested(dict[str, list[float]]):
    """The metrics of a training with `prequential`, window by window: records were predicted, then learnt.

    `number` has the windows' numbers, from 1 (of very many windows, every other one is left out), `step` the model's
    steps at their ends, `tested` how many records had been tested by then, `records` how many each window has, and
    `time` when its values were known, in seconds since the Unix epoch. `untested` is how many records were learnt
    without, because the process that had predicted them died.
    """

    def __init__(self, windows: Sequence[pb.Window], untested: int) -> None:
        """Collect what the master has kept of the windows."""
        names = sorted({name for one in windows for name in one.metrics}, key=_order)
        super().__init__({name: [one.metrics.get(name, math.nan) for one in windows] for name in names})
        self.number = [one.number for one in windows]
        self.step = [one.step for one in windows]
        self.tested = [one.tested for one in windows]
        self.records = [one.records for one in windows]
        self.time = [one.time for one in windows]
        self.untested = untested

    def df(self) -> pd.DataFrame:
        """Return a pandas frame with a row for each window: `step`, `tested`, `records`, `time`, and the metrics.

        Raises ImportError without pandas.
        """
        if importlib.util.find_spec("pandas") is None:
            raise ImportError("df() needs pandas: pip install pandas")
        import pandas as pd

        columns = {"step": self.step, "tested": self.tested, "records": self.records}
        time = pd.to_datetime(self.time, unit="s")
        return pd.DataFrame({**columns, "time": time, **self}, index=pd.Index(self.number, name="window"))


def _evaluated(evaluations: Sequence[pb.Evaluation], start: int, end: int) -> dict[str, float]:
    """Return the metrics of the last evaluation between two steps, as they are called in a history."""
    last = max((one for one in evaluations if start < one.step <= end), key=lambda one: one.step, default=None)
    return {f"val_{name}": value for name, value in last.metrics.items()} if last else {}


def _order(name: str) -> tuple[bool, bool, str]:
    """The training's values before the evaluation's, and the loss before other metrics."""
    plain = name.removeprefix("val_")
    return name != plain, plain != "loss", plain
