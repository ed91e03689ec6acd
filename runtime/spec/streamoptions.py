"""The options of a training that tests each batch before it learns it. `JobSpec` inherits them."""

from __future__ import annotations

from dataclasses import dataclass

from elasticdl_nb.runtime.spec import alarms, forms
from elasticdl_nb.runtime.spec.option import option


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """See the module's docstring."""

    prequential: bool = option(
        "Test, then train: predict each batch before it is learnt, and report metrics over windows of records. What is "
        "learnt stays the same.",
        group="Result", parse=forms.switch, form="BOOL", default=False, jobs=("train",),
    )  # fmt: skip
    prequential_window: int = option(
        "How many records make a window of prequential. A window ends with the first task that completes it.",
        group="Result", parse=forms.whole(1), form="N", default=10_000, jobs=("train",),
    )  # fmt: skip
    alarm: tuple[str, ...] = option(
        "Send a message when a metric of a window of prequential is beyond a bound, such as auc<0.7 or log_loss>0.6; "
        "several are separated by commas. There is one message each time that the metric crosses the bound.",
        group="Result", parse=alarms.alarms, form="BOUNDS", default=(), jobs=("train",),
    )  # fmt: skip
