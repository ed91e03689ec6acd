"""A model's custom_data_reader behind the interface of all readers."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdl_nb.runtime.data.chunks import FileRecords, Records
from elasticdl_nb.runtime.data.tasks import cut
from elasticdl_nb.runtime.errors import DataError, ModelError, OptionError
from elasticdl_nb.runtime.model.loading.customreader import CHUNK_BYTES, CHUNK_RECORDS, CustomReader
from elasticdl_nb.runtime.model.loading.modules import import_from_zoo
from elasticdl_nb.runtime.model.reading.source import Zoo
from elasticdl_nb.runtime.worker.failures import failure


class Lists:
    """Reads what it is given: a dict of lists, the numbers of whose first records are those of `first`."""

    def __init__(self, shards, first=0, **attributes):
        self.shards, self.first = shards, first
        self.threads = {threading.get_ident()}
        vars(self).update(attributes)

    def create_shards(self):
        self.threads.add(threading.get_ident())
        return {name: (self.first, len(records)) for name, records in self.shards.items()}

    def read_records(self, task):
        assert (task.shard_name, task.start, task.end) == (task.shard.name, task.shard.start, task.shard.end)
        for number in range(task.start, task.end):
            self.threads.add(threading.get_ident())
            yield self.shards[task.name][number - self.first]


def opened(reader, params=None, data=("d",)):
    return CustomReader(lambda data, **_: reader, "m.custom_data_reader", "/nowhere", data, params or {}, 10)


def rows(chunks):
    for chunk in chunks:
        if isinstance(chunk, Records):
            yield from chunk.to_list()
        else:
            yield from (list(row.values()) for row in chunk.to_pylist())


def all_rows(reader, per_task=10):
    return [row for task in cut(reader.files(), per_task) for span in task for row in rows(reader.read(*span))]


texts = st.text(max_size=5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(texts | st.binary(max_size=5), max_size=30), max_size=4), st.integers(0, 50))
def test_every_record_is_read_once_and_in_order_whatever_the_shards_first_number(shards, first):
    expected = [row.encode() if isinstance(row, str) else row for shard in shards for row in shard]
    given = Lists({f"s{number}": shard for number, shard in enumerate(shards)}, first)
    if not expected:
        with pytest.raises(DataError, match="listed no records"):
            opened(given)
        return
    reader = opened(given)
    assert reader.form == "bytes"
    assert all_rows(reader, 7) == expected


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3).flatmap(lambda width: st.lists(st.lists(texts, min_size=width, max_size=width), min_size=1)))
def test_lists_of_strings_become_columns(table):
    reader = opened(Lists({"t": table}))
    assert reader.form == "strings"
    assert reader.metadata.column_names == [f"column_{number}" for number in range(len(table[0]))]
    assert all_rows(reader) == [[value.encode() for value in row] for row in table]


def test_columns_have_the_names_that_the_readers_metadata_says():
    class WithNames(Lists):
        @property
        def metadata(self):
            return type("Metadata", (), {"column_names": ["a", "b"]})

    metadata = opened(WithNames({"t": [("1", "2")]})).metadata
    assert (metadata.column_names, metadata.column_dtypes) == (["a", "b"], {"a": "string", "b": "string"})


def test_shards_may_be_a_list_of_names_starts_and_ends():
    class AsList(Lists):
        def create_shards(self):
            return [("t", 0, 3), ("empty", 5, 5), ("t", 3, 5)]

    reader = opened(AsList({"t": list("abcde")}))
    assert reader.files() == [FileRecords("t", 3, 0), FileRecords("t", 2, 3)]
    assert all_rows(reader) == [b"a", b"b", b"c", b"d", b"e"]


def test_chunks_are_limited_in_records_and_in_bytes():
    many = opened(Lists({"t": ["x"] * (CHUNK_RECORDS + 1)}))
    assert [len(chunk) for chunk in many.read("t", 0, CHUNK_RECORDS + 1)] == [CHUNK_RECORDS, 1]
    large = opened(Lists({"t": [bytes(CHUNK_BYTES // 2)] * 5}))
    assert [len(chunk) for chunk in large.read("t", 0, 5)] == [2, 2, 1]


def test_the_users_code_runs_in_one_thread_that_is_not_the_callers():
    given = Lists({"t": ["x"] * 5000})
    given.threads.clear()
    reader = opened(given)
    threads = [threading.Thread(target=lambda: list(reader.read("t", 0, 5000))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(given.threads) == 1
    assert threading.get_ident() not in given.threads


def test_a_reading_that_is_given_up_ends_the_users_generator():
    ended = threading.Event()

    class Closing(Lists):
        def read_records(self, task):
            try:
                yield from super().read_records(task)
            finally:
                if task.end - task.start > 1:
                    ended.set()

    chunks = opened(Closing({"t": ["x"] * 5000})).read("t", 0, 5000)
    next(chunks)
    chunks.close()
    assert ended.wait(5)


def test_the_function_gets_the_data_the_parameters_and_the_tasks_size_if_it_takes_that():
    seen = []

    def all_of_it(data_origin, records_per_task=None, **kwargs):
        seen.append((data_origin, records_per_task, kwargs))
        return Lists({"t": ["x"]})

    def little(data, table):
        seen.append((data, table))
        return Lists({"t": ["x"]})

    CustomReader(all_of_it, "m.f", "/", ("one",), {"table": "t"}, 64)
    CustomReader(little, "m.f", "/", ("one", "two"), {"table": "t"}, 64)
    assert seen == [("one", 64, {"table": "t"}), (["one", "two"], "t")]
    with pytest.raises(
        OptionError, match=r"data_reader_params: tabel is not a parameter of m\.f\. Did you mean 'table'"
    ):
        CustomReader(little, "m.f", "/", ("one",), {"tabel": "t"}, 64)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (
            [1.5],
            "from 0 to 1 yielded float for a record; either all records must be str or bytes, or all must be lists",
        ),
        ([["a", 1]], "yielded int for 'column_1' of a record"),
        (["a", ["b"]], "from 0 to 2 yielded list for a record"),
        ([["a"], ["b", "c"]], "yielded a record with 2 values instead of 1"),
    ],
)
def test_a_record_of_another_type_is_named(records, message):
    with pytest.raises(ModelError, match=message):
        all_rows(opened(Lists({"t": records})))


@pytest.mark.parametrize(
    "shards", [None, {"t": 5}, {"t": (0, 1.5)}, {"t": (-1, 2)}, [("t", 5, 2)], [("t", 5)], {3: (0, 1)}, 7]
)
def test_shards_of_another_form_are_refused(shards):
    reader = Lists({})
    reader.create_shards = lambda: shards
    with pytest.raises((ModelError, DataError), match=r"m\.custom_data_reader: create_shards\(\)"):
        opened(reader)


def test_too_many_and_too_few_records_are_errors():
    class Whole(Lists):
        def read_records(self, task):
            yield from self.shards[task.name]

    reader = opened(Whole({"t": list("abcd")}))
    with pytest.raises(ModelError, match="from 0 to 2 yielded more than 2 records; it must stop at the task's end"):
        list(reader.read("t", 0, 2))
    with pytest.raises(ModelError, match="from 0 to 6 yielded only 4 records"):
        list(reader.read("t", 0, 6))


def test_other_types_of_records_and_other_objects_are_refused():
    with pytest.raises(ModelError, match=r"records_output_types is 'float32'; expected strings"):
        opened(Lists({"t": ["x"]}, records_output_types="float32"))
    assert opened(Lists({"t": ["x"]}, records_output_types="string")).form == "bytes"
    with pytest.raises(ModelError, match=r"m\.custom_data_reader returned a int, which has no method create_shards"):
        opened(3)


def test_an_error_of_the_users_code_has_its_file_and_line(write):
    write(
        "m.py",
        """
        class Reader:
            def create_shards(self):
                return {"t": (0, 5)}

            def read_records(self, task):
                yield "a"
                if task.end > 1:
                    raise TimeoutError("the database is asleep")


        def custom_data_reader(data):
            return {"broken": 1 / int(data), "fine": Reader()}["fine"]
        """,
    )
    root = str(write("x", "").parent)
    module = import_from_zoo(Zoo(root), "m")
    with pytest.raises(ModelError, match=r"m\.f failed: ZeroDivisionError: .* \(m\.py, line 13: return"):
        CustomReader(module.custom_data_reader, "m.f", root, ("0",), {}, 1)
    reader = CustomReader(module.custom_data_reader, "m.f", root, ("1",), {}, 1)
    with pytest.raises(
        ModelError, match=r"read_records\(\) of 't' from 0 to 5 failed: TimeoutError: the da.*line 9"
    ) as caught:
        list(reader.read("t", 0, 5))
    assert failure(caught.value).transient  # another try may do
