import csv
import io

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdl_nb.runtime.data import bytescan

quick = settings(max_examples=60, deadline=None)


def without_numba(function):
    """The same code, run as plain Python."""
    return getattr(function, "py_func", function)


def test_crc32c_has_the_published_check_value():
    assert bytescan.crc32c(b"123456789") == 0xE3069283
    assert bytescan.crc32c(b"") == 0


@quick
@given(st.binary(max_size=100))
def test_crc32c_is_the_same_without_numba(data):
    plain = without_numba(bytescan._crc32c)(np.frombuffer(data, np.uint8), 0, len(data), bytescan._TABLES)
    assert int(plain) == bytescan.crc32c(data)


@quick
@given(st.binary(max_size=60), st.integers(0, 5))
def test_any_bytes_split_the_same_without_numba(data, records):
    starts, ends = np.zeros(records, np.int64), np.zeros(records, np.int64)
    plain = without_numba(bytescan._split_recordio)(np.frombuffer(data, np.uint8), starts, ends)
    split = bytescan.split_recordio(data, records)
    assert (split is not None) == bool(plain)
    if split is not None:
        assert np.array_equal(split[0], starts)
        assert np.array_equal(split[1], ends)


fields = st.text(st.sampled_from('ab,"\n\r x'), max_size=6)


@quick
@given(st.lists(st.lists(fields, min_size=2, max_size=2), max_size=20), st.sampled_from(["\n", "\r\n"]), st.data())
def test_csv_rows_are_found_whatever_is_quoted_and_wherever_blocks_end(rows, line_end, data):
    text = io.StringIO(newline="")
    if line_end == "\n":  # the writer would leave these bare, and a bare one ends a row
        rows = [[field.replace("\r", "") for field in row] for row in rows]
    starts = []
    writer = csv.writer(text, lineterminator=line_end)
    for row in rows:
        starts.append(text.tell())
        writer.writerow(row)
    content = text.getvalue().encode()
    cut = data.draw(st.integers(0, len(content)))

    state, count, found = bytescan.scan_csv(content[:cut], bytescan.ROW_START, 0, 1, ord(","), ord('"'))
    state, count, more = bytescan.scan_csv(content[cut:], state, count, 1, ord(","), ord('"'))
    assert count == len(rows)
    assert [*found, *(more + cut)] == starts

    points = np.empty(len(content) + 2, np.int64)
    data = np.frombuffer(content, np.uint8)
    words = data[: len(data) & ~7].view(np.uint64)
    plain = without_numba(bytescan._scan_csv)(data, words, 0, 0, 1, ord(","), ord('"'), points)
    assert (plain[0], plain[1], points[: plain[2]].tolist()) == (state, count, starts)
