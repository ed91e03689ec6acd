import platform
import subprocess
import sys

import numpy as np
import pytest

from elasticdl_nb.runtime.parameters.rows import memory
from elasticdl_nb.runtime.parameters.rows.memory import GrowableArray


def test_new_rows_hold_the_fill_value():
    array = GrowableArray((3,), np.float32, fill=0.1)
    array.grow(5)
    array.view[:] = 2
    array.grow(9)
    assert array.view.shape == (9, 3)
    assert (array.view[:5] == 2).all()
    assert (array.view[5:] == np.float32(0.1)).all()
    assert array.nbytes == 9 * 3 * 4


def test_growing_within_the_reservation_moves_nothing():
    array = GrowableArray((16,), np.float32)
    if memory.reserve(1 << 30) is None:
        pytest.skip("this system reserves no address space")
    before = array.data
    array.grow(1_000_000)
    assert array.data is before


@pytest.mark.parametrize("reservation", [0, 64])
def test_growing_beyond_the_reservation_keeps_the_rows(reservation):
    array = GrowableArray((2,), np.int64, reservation=reservation)
    for length in (1, 3, 4, 100, 5000):
        start = array.length
        array.grow(length)
        array.view[start:] = np.arange(start, length)[:, None]
    assert (array.view[:, 1] == np.arange(5000)).all()


def test_growing_without_reservations_copies(monkeypatch):
    monkeypatch.setattr(memory, "_NORESERVE", None)
    array = GrowableArray((), np.float32, fill=1)
    array.grow(10)
    array.grow(1000)
    assert array.view.sum() == 1000


def test_an_array_never_shrinks():
    array = GrowableArray((), np.int32)
    array.grow(10)
    array.grow(3)
    assert array.length == 10


def test_freed_buffers_can_be_kept():
    code = "from elasticdl_nb.runtime.parameters.rows.memory import keep_freed_buffers; print(keep_freed_buffers())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(platform.libc_ver()[0] == "glibc")
