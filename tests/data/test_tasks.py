import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticdl_nb.runtime.data.chunks import FileRecords
from elasticdl_nb.runtime.data.tasks import cut


@given(st.lists(st.integers(0, 50), max_size=10), st.integers(1, 30))
def test_tasks_cover_every_record_once_in_order_and_only_the_last_is_short(lengths, records_per_task):
    files = [FileRecords(f"file-{n}", length) for n, length in enumerate(lengths)]
    tasks = cut(files, records_per_task)
    covered = [(path, n) for task in tasks for path, start, end in task for n in range(start, end)]
    assert covered == [(file.path, n) for file in files for n in range(file.records)]
    sizes = [sum(end - start for _, start, end in task) for task in tasks]
    assert all(size == records_per_task for size in sizes[:-1])
    assert all(0 < size <= records_per_task for size in sizes[-1:])
    assert all(start < end for task in tasks for _, start, end in task)


def test_a_task_goes_on_into_the_next_file():
    assert cut([FileRecords("a", 3), FileRecords("b", 3)], 4) == [[("a", 0, 3), ("b", 0, 1)], [("b", 1, 3)]]


def test_records_are_numbered_as_their_file_numbers_them():
    assert cut([FileRecords("a", 3, start=10), FileRecords("a", 2, start=20)], 4) == [
        [("a", 10, 13), ("a", 20, 21)],
        [("a", 21, 22)],
    ]


def test_tasks_of_no_records_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        cut([FileRecords("a", 3)], 0)
