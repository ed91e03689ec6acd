"""Halved values are those of NumPy, bit for bit."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from elasticdl_nb.runtime.allreduce.halves import form_of

FORMS = [("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)]


@pytest.mark.parametrize(("name", "kind"), FORMS)
def test_every_half_has_its_value(name: str, kind: type) -> None:
    halves = np.arange(1 << 16, dtype=np.uint16)
    values = np.empty(1 << 16, np.float32)
    form_of(name).decode(halves, values)
    np.testing.assert_array_equal(values, halves.view(kind).astype(np.float32))
    assert np.array_equal(np.signbit(values), halves >= 1 << 15)


@pytest.mark.parametrize(("name", "kind"), FORMS)
def test_values_are_rounded_to_the_nearest(name: str, kind: type) -> None:
    every = np.arange(1 << 15, dtype=np.uint16).view(kind).astype(np.float32)
    every = every[np.isfinite(every)]
    between = every[1:] / 2 + every[:-1] / 2  # ties
    near = [np.nextafter(between, np.float32(edge)) for edge in (0, np.inf)]
    any_bits = np.random.default_rng(0).integers(0, 1 << 32, 500_000, np.uint32).view(np.float32)
    large = np.array([65519, 65520, 65536, 3.4e38, np.inf, np.nan], np.float32)
    values = np.concatenate([every, between, *near, large, any_bits])
    values = np.concatenate([values, -values])
    with np.errstate(over="ignore", invalid="ignore"):
        expected = values.astype(kind).astype(np.float32)
    rounded = form_of(name).encode(values).view(kind).astype(np.float32)
    np.testing.assert_array_equal(rounded, expected)
    numbers = ~np.isnan(expected)
    assert np.array_equal(np.signbit(rounded[numbers]), np.signbit(expected[numbers]))


def test_no_compression_has_no_form() -> None:
    assert form_of("none") is None
