import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.checkpoints import snapshot
from elasticdl_nb.runtime.parameters.checkpoints.chain import checkpoint_files
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import (
    Frame,
    file_name,
    load,
    save,
    save_stepwise,
)

FRAMES = [
    Frame({"kind": "state", "version": 3}),
    Frame({"kind": "rows"}, [np.arange(4), np.ones((4, 2), np.float32), np.zeros((0, 2), np.float32)]),
    Frame({"kind": "dense", "key": "größe"}, [np.float32([1.5])]),
]


def assert_same(ours, theirs):
    ours, theirs = list(ours), list(theirs)
    assert [frame.meta for frame in ours] == [frame.meta for frame in theirs]
    for one, other in zip(ours, theirs, strict=True):
        for a, b in zip(one.arrays, other.arrays, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


@pytest.fixture
def path(tmp_path):
    save(tmp_path / "x.ps", FRAMES)
    return tmp_path / "x.ps"


def test_frames_come_back(path):
    assert_same(load(path), FRAMES)
    assert list(path.parent.iterdir()) == [path]


def test_a_file_may_be_empty(tmp_path):
    assert save(tmp_path / "x", []) == (tmp_path / "x").stat().st_size
    assert list(load(tmp_path / "x")) == []


def test_big_endian_and_strided_arrays_are_stored_as_little_endian(tmp_path):
    save(tmp_path / "x", [Frame({"kind": "a"}, [np.arange(6, dtype=">i4").reshape(2, 3).T])])
    (frame,) = load(tmp_path / "x")
    assert frame.arrays[0].dtype == np.dtype("<i4")
    assert frame.arrays[0].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_file_cut_off_anywhere_is_refused(path):
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"x\.ps"):
            list(load(path))


def test_a_changed_byte_anywhere_is_noticed(path):
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        with pytest.raises(DataError, match=r"x\.ps"):
            list(load(path))


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_rubbish_is_refused(tmp_path_factory, rubbish):
    path = tmp_path_factory.mktemp("rubbish") / "x.ps"
    path.write_bytes(snapshot.MAGIC + rubbish)
    with pytest.raises(DataError, match=r"x\.ps"):
        list(load(path))


def test_what_follows_the_end_is_noticed(path):
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DataError, match="damaged"):
        list(load(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.ps: No such file"):
        list(load(tmp_path / "nothing.ps"))


def test_failing_frames_leave_the_old_file(path):
    def failing():
        yield FRAMES[0]
        raise OSError("disk full")

    before = path.read_bytes()
    with pytest.raises(OSError, match="disk full"):
        save(path, failing())
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_saving_step_by_step_can_be_abandoned(tmp_path):
    steps = save_stepwise(tmp_path / "x", FRAMES)
    assert next(steps) > 0
    steps.close()
    assert list(tmp_path.iterdir()) == []


def test_the_files_of_a_checkpoint_are_found_in_order(tmp_path):
    for server in (2, 0, 1):
        save(tmp_path / file_name(server, 3), [])
    assert [path.name for (path,) in checkpoint_files(tmp_path)] == [file_name(i, 3) for i in range(3)]
    (tmp_path / file_name(1, 3)).unlink()
    with pytest.raises(DataError, match=r"server-1-of-3\.ps missing"):
        checkpoint_files(tmp_path)


def test_mixed_or_absent_checkpoints_are_refused(tmp_path):
    with pytest.raises(DataError, match="holds no checkpoint"):
        checkpoint_files(tmp_path)
    with pytest.raises(DataError, match="holds no checkpoint"):
        checkpoint_files(tmp_path / "absent")
    save(tmp_path / file_name(0, 1), [])
    save(tmp_path / file_name(1, 2), [])
    with pytest.raises(DataError, match="different numbers of servers"):
        checkpoint_files(tmp_path)
