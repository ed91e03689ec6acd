"""Columns as arrays, by so many and in any order, against a table that was put together and cut."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elasticdl_nb.runtime.data import arranging
from elasticdl_nb.runtime.data.reader import open_reader

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def table(count, texts):
    """One column of each kind; NaNs with a payload, so that bits are compared."""
    random = np.random.default_rng(count)
    strange = np.frombuffer(b"\x01\x00\x00\x00\x00\x00\xf8\x7f", np.float64)[0]
    return pa.table(
        {
            "int": random.integers(-(2**62), 2**62, count),
            "small": random.integers(0, 9, count).astype(np.int8),
            "float": np.where(random.random(count) < 0.3, strange, random.normal(size=count)),
            "flag": random.random(count) < 0.5,
            "gaps": pa.array([None if n % 3 == 0 else n for n in range(count)], pa.int32()),
            "few": [texts[n % len(texts)] for n in range(count)],
            "many": [f"é{n}\0" for n in range(count)],
            "bytes": pa.array([b"\xff" * (n % 4) for n in range(count)], pa.binary()),
            "absent": pa.array([None if n % 2 else "there" for n in range(count)]),
            "codes": pa.array([texts[n % 2 - 1] for n in range(count)]).dictionary_encode(),
            "list": pa.array([[n, n + 1.5] for n in range(count)], pa.list_(pa.float64(), 2)),
            "words": pa.array([[str(n), "x"] for n in range(count)], pa.list_(pa.string())),
        }
    )


def whole(arrays, reader):
    """Join what `arrange` yields; texts in place of codes."""
    found = {name: [] for name in reader.metadata.column_names}
    for some in arrays:
        parts = iter(some)
        for name in sorted(found):
            values = next(parts)
            if arranging.is_texts(reader.metadata, name) and len(codes := next(parts)):
                values = values[codes]
            found[name].append(values)
    return found


def same(one, other):
    if one.dtype == object:
        return one.shape == other.shape and one.tolist() == other.tolist()
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


@quick
@given(
    st.integers(2, 400), st.integers(1, 90), st.integers(1, 130), st.booleans(), st.integers(1, 150),
    st.lists(st.text(max_size=9).filter(lambda text: "\0" not in text), min_size=1, max_size=30), st.data(),
)  # fmt: skip
def test_every_value_is_where_it_should_be(tmp_path, count, rows, at_once, mixed, together, texts, data):
    path = str(tmp_path / "a.parquet")
    pq.write_table(table(count, texts), path, row_group_size=rows)
    reader = open_reader([path], {})
    start = data.draw(st.integers(0, count - 1))
    ranges = [(path, start, count), (path, 0, start)]
    order = (lambda size: np.random.default_rng(size).permutation(size).astype(np.int32)) if mixed else None
    names = reader.metadata.column_names
    wanted = data.draw(st.none() | st.frozensets(st.sampled_from(names)))
    batches = (batch for one in ranges for batch in reader.read_columns(*one, wanted))
    arrays = list(arranging.arrange(batches, reader.metadata, at_once, wanted, order, together))

    expected = pa.Table.from_batches([batch for one in ranges for batch in reader.read(*one)])
    places = np.arange(count)
    if order:
        cuts = range(0, count, together)
        places = np.concatenate([cut + order(min(together, count - cut)) for cut in cuts])
    found = whole(arrays, reader)
    for name in names:
        parts = found[name]
        if not mixed or together >= count:
            assert [*map(len, parts)][:-1] == [at_once] * (len(parts) - 1)
        column = np.concatenate(parts)
        if wanted is not None and name not in wanted:
            assert len(column) == count and not np.any(column)
            continue
        values = expected.column(name).combine_chunks()
        assert same(column, arranging.columntypes.to_numpy(values)[places]), name


def test_memory_is_shared_with_nobody(tmp_path):
    path = str(tmp_path / "a.parquet")
    pq.write_table(table(50, ["a", "b"]), path)
    reader = open_reader([path], {})

    def first():
        return next(arranging.arrange(reader.read_columns(path, 0, 50), reader.metadata, 50))

    for array in first():
        assert array.flags.writeable
        if array.dtype != object:
            array.fill(0)
    assert any(np.any(array) for array in first() if array.dtype == np.float64)


def test_texts_that_repeat_are_codes_and_others_are_not():
    assert pa.types.is_dictionary(arranging.with_codes(pa.array(["a", "b"] * 500)).type)
    assert arranging.with_codes(pa.array(["a"])).type == pa.string()
    assert arranging.with_codes(pa.array([str(n) for n in range(1000)])).type == pa.string()
    late = pa.array(["a"] * 600 + [str(n) for n in range(1000)])
    assert arranging.with_codes(late).type == pa.string()
