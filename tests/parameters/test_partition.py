import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.partition import SLICE, DensePartition, Slice, owners, slices_of, split_ids

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(NAMES, st.integers(0, 5 * SLICE), st.integers(1, 9))
def test_slices_cover_a_variable_once(name, size, servers):
    pieces = slices_of(name, size, servers)
    position = 0
    for server, piece in pieces:
        assert 0 <= server < servers
        assert piece.start == position
        assert Slice.parse(piece.key) == piece
        assert servers == 1 or piece.stop - piece.start <= SLICE
        position = piece.stop
    assert position == size


def test_the_partition_never_changes():
    # Checkpoints and running jobs depend on it.
    assert [server for server, _ in slices_of("dense/kernel", 10, 5)] == [1]
    assert [(server, piece.key) for server, piece in slices_of("big", 2 * SLICE + 1, 2)] == [
        (1, "big@0:174763/524289"),
        (0, "big@174763:349526/524289"),
        (1, "big@349526:524289/524289"),
    ]


@given(st.integers(1, 5), st.dictionaries(NAMES, st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=6))
def test_split_and_join_are_inverse(servers, shapes):
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    partition = DensePartition(shapes, servers)
    parts = partition.split(values)
    assert len(parts) == servers
    joined = partition.join({key: value for part in parts for key, value in part.items()})
    assert joined.keys() == values.keys()
    for name, value in values.items():
        np.testing.assert_array_equal(joined[name], value)


def test_large_variables_are_shared_by_all_servers():
    partition = DensePartition({"big": (1024, 2048)}, 3)
    values = {"big": np.arange(1024 * 2048, dtype=np.float32).reshape(1024, 2048)}
    parts = partition.split(values)
    sizes = [sum(value.size for value in part.values()) for part in parts]
    assert max(sizes) - min(sizes) <= SLICE
    np.testing.assert_array_equal(partition.join({**parts[0], **parts[1], **parts[2]})["big"], values["big"])
    with pytest.raises(DataError, match=r"variable big: 5 of its 8 slices are missing"):
        partition.join(parts[0])


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=50), st.integers(1, 6))
def test_every_id_has_one_owner(ids, servers):
    keys = np.array(ids, np.int64)
    places = split_ids(keys, servers)
    assert sorted(np.concatenate(places).tolist()) == list(range(len(ids)))
    for server, place in enumerate(places):
        assert (owners(keys[place], servers) == server).all()
        assert all(key % servers == server for key in keys[place].tolist())
        assert (np.diff(place) > 0).all()


@pytest.mark.parametrize("key", ["name", "name@1:2", "name@a:b/c", "name@5:3/9", "name@0:10/9", ""])
def test_malformed_keys_are_refused(key):
    with pytest.raises(DataError):
        Slice.parse(key)
