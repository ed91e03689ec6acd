import pytest

from elasticdl_nb.runtime.data import files, tfrecord
from elasticdl_nb.runtime.data.reader import open_reader
from elasticdl_nb.runtime.errors import DataError

RECORDS = [b"record %d" % n * (n % 5) for n in range(500)] + [bytes(3 << 20)] + [b"last"]


@pytest.fixture
def path(tmp_path):
    tfrecord.write_file(str(tmp_path / "a.tfrecord"), RECORDS)
    return tmp_path / "a.tfrecord"


def read(path, start=0, end=502):
    reader = open_reader([str(path)], {})
    return [record for chunk in reader.read(str(path), start, end) for record in chunk.to_list()]


def test_records_are_counted_and_read_from_anywhere(path):
    assert open_reader([str(path)], {}).files()[0].records == len(RECORDS)
    assert read(path) == RECORDS
    assert read(path, 7, 400) == RECORDS[7:400]
    assert read(path, 499, 502) == RECORDS[499:502]


def test_what_stands_before_is_only_scanned_for_lengths(path):
    content = bytearray(path.read_bytes())
    content[30] ^= 1  # in the bytes of a record, not in a length
    path.write_bytes(content)
    assert read(path, 501, 502) == [b"last"]


@pytest.mark.parametrize("position", range(0, 60, 3))
def test_a_changed_byte_is_noticed_and_named(path, position):
    offset = 2000 + position
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tfrecord: corrupt TFRecord record \d+ .* at byte \d+"):
        read(path)


@pytest.mark.parametrize("missing", [1, 5, 15, 21, 1 << 20])
def test_a_file_cut_short_is_noticed(path, missing):
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(DataError, match=r"the file ends within it|does not match"):
        open_reader([str(path)], {}).check()


def test_files_compressed_as_a_whole_are_named_as_such(tmp_path):
    (tmp_path / "a.tfrecord").write_bytes(b"\x1f\x8b" + bytes(50))
    with pytest.raises(DataError, match="compressed as a whole"):
        tfrecord.Index(files.Source(str(tmp_path / "a.tfrecord"))).extend()
