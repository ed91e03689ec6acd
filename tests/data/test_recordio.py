import gzip
import struct
import zlib

import cramjam
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elasticdl_nb.runtime.data import bytescan, files, recordio
from elasticdl_nb.runtime.errors import DataError

RECORDS = [b"record %d" % n * (n % 7) for n in range(1000)]

record_lists = st.lists(st.binary(max_size=60), max_size=40)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def chunk(stored: bytes, records: int, compressor: int, checksum: int) -> bytes:
    return struct.pack("<5I", 0x01020304, checksum, compressor, len(stored), records) + stored


def payload(records: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(record)) + record for record in records)


def chunk_offsets(path) -> list[int]:
    return [item.offset for item in recordio.Index(files.Source(str(path))).extend()]


@quick
@given(record_lists, st.sampled_from(recordio.COMPRESSORS), st.integers(1, 300), st.data())
def test_what_is_written_is_read_back_from_any_record_on(tmp_path, records, compressor, chunk_bytes, data):
    path = str(tmp_path / "a.recordio")
    assert recordio.write_file(path, records, compressor=compressor, chunk_bytes=chunk_bytes) == len(records)
    start = data.draw(st.integers(0, len(records)))
    end = data.draw(st.integers(start, len(records)))
    assert list(recordio.read_file(path)) == records
    assert list(recordio.read_file(path, start, end)) == records[start:end]
    assert recordio.verify(path) == len(records)


@quick
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=12), st.sampled_from(recordio.COMPRESSORS), st.data())
def test_a_changed_byte_never_yields_other_records(tmp_path, records, compressor, data):
    path = tmp_path / "a.recordio"
    recordio.write_file(str(path), records, compressor=compressor, chunk_bytes=80)
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.recordio: corrupt RecordIO chunk \d+ .* at byte \d+"):
        recordio.verify(str(path))


@quick
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=12), st.data())
def test_a_file_cut_short_is_noticed_unless_cut_between_chunks(tmp_path, records, data):
    path = tmp_path / "a.recordio"
    recordio.write_file(str(path), records, chunk_bytes=80)
    offsets = chunk_offsets(path)
    content = path.read_bytes()
    length = data.draw(st.integers(0, len(content) - 1).filter(lambda n: n not in offsets))
    path.write_bytes(content[:length])
    with pytest.raises(DataError, match="the file ends"):
        recordio.verify(str(path))


def test_the_layout_is_the_documented_one(tmp_path):
    path = tmp_path / "a.recordio"
    recordio.write_file(str(path), [b"a", b"bc"], compressor="none")
    stored = b"\x01\0\0\0a\x02\0\0\0bc"
    assert path.read_bytes() == b"\x04\x03\x02\x01" + struct.pack("<4I", zlib.crc32(stored), 0, 11, 2) + stored


def test_snappy_is_the_default_in_its_framing_format(tmp_path):
    path = tmp_path / "a.recordio"
    recordio.write_file(str(path), RECORDS)
    content = path.read_bytes()
    assert struct.unpack("<5I", content[:20])[2] == 1
    assert bytes(cramjam.snappy.decompress(content[20:])) == payload(RECORDS)


@pytest.mark.parametrize("checksum", [zlib.crc32, bytescan.crc32c], ids=["crc32", "crc32c"])
@pytest.mark.parametrize(
    ("compressor", "compress"),
    [(0, bytes), (1, cramjam.snappy.compress), (1, cramjam.snappy.compress_raw), (2, gzip.compress)],
    ids=["none", "snappy", "raw snappy", "gzip"],
)
def test_every_writer_ever_in_use_is_understood(tmp_path, compressor, compress, checksum):
    path = tmp_path / "a.recordio"
    halves = [RECORDS[:600], RECORDS[600:]]
    stored = [bytes(compress(payload(half))) for half in halves]
    parts = [chunk(s, len(half), compressor, checksum(s)) for s, half in zip(stored, halves, strict=True)]
    path.write_bytes(b"".join(parts))
    assert list(recordio.read_file(str(path))) == RECORDS


def test_reading_from_a_record_on_touches_no_chunk_before_it(tmp_path):
    path = tmp_path / "a.recordio"
    recordio.write_file(str(path), RECORDS, chunk_bytes=1000, compressor="none")
    index = recordio.Index(files.Source(str(path)))
    chunks = index.extend()
    wanted = chunks[3]
    content = bytearray(path.read_bytes())
    for other in chunks[:3]:
        content[other.offset + 20 : other.end] = bytes(other.size)  # payloads only: the headers are needed
    path.write_bytes(content)
    assert list(recordio.read_file(str(path), wanted.first)) == RECORDS[wanted.first :]
    with pytest.raises(DataError, match="chunk 2 "):
        list(recordio.read_file(str(path), wanted.first - 1))


def test_the_index_goes_no_further_than_asked(tmp_path):
    path = tmp_path / "a.recordio"
    recordio.write_file(str(path), RECORDS, chunk_bytes=1000)
    index = recordio.Index(files.Source(str(path)))
    assert len(index.extend(1)) == 1
    assert len(index.extend(index.chunks[0].records + 1)) == 2
    assert index.records == len(RECORDS)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda c, at: c[:at] + b"\0" + c[at + 1 :], "a chunk begins with the bytes 04 03 02 01"),
        (lambda c, at: c[: at + 7], "the file ends within the header, after 7 of 20 bytes"),
        (lambda c, at: c[: at + 30], "the file ends"),
        (lambda c, at: c[: at + 8] + b"\x09" + c[at + 9 :], "unknown compressor 9"),
        (lambda c, at: c[: at + 40] + b"\xff\xff" + c[at + 42 :], "its checksum does not match"),
        (lambda c, at: c[: at + 16] + b"\x01\0\0\0" + c[at + 20 :], "lengths of its 1 records do not add up"),
    ],
)
def test_corruption_is_named_by_file_chunk_and_offset(tmp_path, damage, problem):
    path = tmp_path / "a.recordio"
    recordio.write_file(str(path), RECORDS, chunk_bytes=1000)
    offset = chunk_offsets(path)[2]
    path.write_bytes(damage(path.read_bytes(), offset))
    with pytest.raises(DataError) as caught:
        recordio.verify(str(path))
    assert f"{path}: corrupt RecordIO chunk 2 (counted from 0) at byte {offset}: " in str(caught.value)
    assert problem in str(caught.value)


def test_a_failed_writer_leaves_the_old_file_in_place(tmp_path):
    path = tmp_path / "a.recordio"
    recordio.write_file(str(path), [b"old"])

    def failing():
        yield b"new"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        recordio.write_file(str(path), failing())
    assert list(recordio.read_file(str(path))) == [b"old"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.recordio"]


def test_an_empty_file_holds_no_records(tmp_path):
    path = tmp_path / "a.recordio"
    path.write_bytes(b"")
    assert recordio.verify(str(path)) == 0
