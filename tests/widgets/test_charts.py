"""Scales and curves: what is drawn where."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticdl_nb.widgets.charts import chart, plot, smoothed, sparkline, thinned
from elasticdl_nb.widgets.scale import linear_axis, step_ticks, value_axis
from elasticdl_nb.widgets.summary import Curve


def curve(values: list[float]) -> Curve:
    return Curve("loss", tuple(range(len(values))), tuple(values))


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.21, 0.73, ["0.2", "0.4", "0.6", "0.8"]),
        (0, 1, ["0", "0.5", "1.0"]),
        (-3, 12, ["−5", "0", "5", "10", "15"]),
        (0.001, 0.0029, ["0.001", "0.002", "0.003"]),
        (2e7, 5e7, ["2e7", "3e7", "4e7", "5e7"]),
        (3, 3, ["2.6", "2.8", "3.0", "3.2", "3.4"]),
    ],
)
def test_linear_axes_end_on_round_numbers(low: float, high: float, labels: list[str]) -> None:
    assert [label for _, label in linear_axis(low, high).ticks] == labels


def test_the_scale_is_logarithmic_only_where_the_range_asks_for_it() -> None:
    assert not value_axis([0.7, 0.5, 0.3])[0]
    assert not value_axis([0.7, 0.0, -0.3])[0]
    assert value_axis([1000.0, 1.0, 0.1])[0]
    assert value_axis([90.0, 1.0, 1.1, 1.2, 1.0])[0]
    logarithmic, axis = value_axis([1000.0, 30.0, 0.1])
    assert logarithmic
    assert [label for _, label in axis.ticks] == ["0.1", "1", "10", "100", "1000"]


@given(st.lists(st.floats(), min_size=1, max_size=50))
def test_every_axis_holds_its_values_and_has_at_least_two_labels(values: list[float]) -> None:
    _, axis = value_axis(values)
    assert 2 <= len(axis.ticks) <= 12
    assert all(0 <= axis.share(place) <= 1 for place, _ in axis.ticks)
    assert all(math.isfinite(value) == math.isfinite(axis.share(value)) for value in values)


@given(st.integers(0, 2**62), st.integers(0, 2**40))
def test_steps_have_one_to_seven_labels_within_the_range(first: int, length: int) -> None:
    ticks = step_ticks(first, first + length)
    assert 1 <= len(ticks) <= 7
    assert all(first <= step <= first + length for step, _ in ticks)


@pytest.mark.parametrize(("first", "last"), [(1, 8557), (1, 160), (0, 2), (3, 40), (1, 10**9), (999, 1999)])
def test_a_range_of_steps_has_more_than_one_label(first: int, last: int) -> None:
    assert 3 <= len(step_ticks(first, last)) <= 7


def test_the_reader_may_choose_the_scale() -> None:
    assert value_axis([0.7, 0.5, 0.3], True)[0]
    assert not value_axis([1000.0, 1.0, 0.1], False)[0]
    logarithmic, axis = value_axis([0.5, 0.0, -1.0], True)
    assert logarithmic and len(axis.ticks) >= 2
    assert not value_axis([0.0, -1.0], True)[0]


def test_thinning_keeps_ends_peaks_and_gaps() -> None:
    points = [(place / 1000, 0.5) for place in range(1000)]
    points[333] = (0.333, 0.99)
    points[500] = (0.5, math.nan)
    kept = thinned(points, 100)
    assert len(kept) <= 102
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    assert points[333] in kept
    assert any(math.isnan(y) for _, y in kept)


def test_the_moving_average_of_a_straight_line_is_that_line() -> None:
    points = [(place / 99, place / 99) for place in range(100)]
    assert all(abs(x - y) < 0.02 for x, y in smoothed(points, 50))


def test_noise_is_smoothed_and_the_reader_told() -> None:
    noisy = plot(curve([0.5 + 0.2 * (-1) ** place for place in range(100)]))
    assert "moving average" in noisy.notes
    assert chart(noisy).count("<path") == 2
    calm = plot(curve([1 / (place + 2) for place in range(40)]))
    assert not calm.notes
    assert chart(calm).count("<path") == 1


def test_a_single_value_is_a_dot() -> None:
    assert "<circle" in chart(plot(curve([0.5])))
    assert "<circle" in sparkline(curve([0.5]))


def test_a_long_curve_is_a_short_text() -> None:
    assert len(chart(plot(curve([math.sin(place) for place in range(2000)])))) < 5000


def test_the_line_runs_from_edge_to_edge() -> None:
    drawn = chart(plot(curve([0.0, 1.0])))
    assert re.search(r'd="M0 300h0l1000-300"', drawn)
