"""Object stores: real clients against local emulators."""

import sys
import uuid

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elasticdl_nb.runtime.data import files, recordio
from elasticdl_nb.runtime.data.convert import convert
from elasticdl_nb.runtime.data.reader import open_reader
from elasticdl_nb.runtime.data.writers import OUTPUT_FORMS, concatenate, open_writer
from elasticdl_nb.runtime.errors import OptionError

RECORDS = [b"record %d" % n * (n % 9) for n in range(3000)]


@pytest.fixture(scope="module")
def s3():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3").makedirs("bucket", exist_ok=True)  # the emulator keeps it for other modules
        yield "s3://bucket"
        fsspec.get_filesystem_class("s3").clear_instance_cache()
    server.stop()


@pytest.fixture(scope="module")
def gs():
    from gcp_storage_emulator.server import create_server

    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        host, port = server._api._httpd.server_address
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://{host}:{port}")
        patch.setenv("FSSPEC_GS_TOKEN", "anon")
        yield "gs://bucket"
        fsspec.get_filesystem_class("gs").clear_instance_cache()
    server.stop()


@pytest.fixture(params=["memory", "s3", "gs"])
def root(request):
    base = "memory://" if request.param == "memory" else request.getfixturevalue(request.param)
    return f"{base}/{uuid.uuid4().hex}"


def test_recordio_is_written_found_and_read_in_parts(root):
    for name in ("b", "a"):
        recordio.write_file(f"{root}/train/{name}.recordio", RECORDS, chunk_bytes=2000)
    for path in (f"{root}/train/*.recordio", f"{root}/train", f"{root}/train/"):
        reader = open_reader([path], {})
        reader.check()
        assert [(file.path, file.records) for file in reader.files()] == [
            (f"{root}/train/a.recordio", 3000), (f"{root}/train/b.recordio", 3000),
        ]  # fmt: skip
    chunks = reader.read(f"{root}/train/b.recordio", 1500, 1700)
    assert [record for chunk in chunks for record in chunk.to_list()] == RECORDS[1500:1700]


def test_parquet_and_csv_are_read(root):
    table = pa.table({"a": np.arange(1000), "b": np.arange(1000) / 2})
    with fsspec.open(f"{root}/t.parquet", "wb") as file:
        pq.write_table(table, file, row_group_size=100)
    with fsspec.open(f"{root}/t.csv", "wb") as file:
        file.write(b"a,b\n" + b"".join(b"%d,%.1f\n" % (n, n / 2) for n in range(1000)))
    for path, params in ((f"{root}/t.parquet", {}), (f"{root}/t.csv", {"typed": True})):
        reader = open_reader([path], params)
        assert reader.files()[0].records == 1000
        assert pa.Table.from_batches(list(reader.read(path, 150, 420))).equals(table.slice(150, 270))


@pytest.mark.parametrize("form", OUTPUT_FORMS)
def test_predictions_are_written_and_joined(root, form):
    parts = [f"{root}/part-{n}" for n in range(2)]
    for n, part in enumerate(parts):
        with open_writer(part, form) as writer:
            writer.write({"x": np.arange(3) + 3 * n})
    concatenate(parts, f"{root}/all.{form}", form)
    assert open_reader([f"{root}/all.{form}"], {}).files()[0].records == 6


def test_a_failed_writer_leaves_nothing(root):
    with pytest.raises(KeyError), open_writer(f"{root}/part", "parquet") as writer:
        writer.write({"x": np.arange(3)})
        raise KeyError
    assert not files.exists(f"{root}/part")


def test_conversion_goes_between_stores_and_this_machine(root, tmp_path):
    recordio.write_file(str(tmp_path / "a.recordio"), RECORDS)
    result = convert(str(tmp_path / "a.recordio"), f"{root}/out", to="tfrecord", records_per_file=1000)
    assert result.files == [f"{root}/out/data-{n:05d}.tfrecord" for n in range(3)]
    convert(f"{root}/out", str(tmp_path / "b.recordio"))
    assert list(recordio.read_file(str(tmp_path / "b.recordio"))) == RECORDS


def test_what_is_not_there_is_said(root):
    with pytest.raises(OptionError, match=r"data: no file matches .*/\*\.recordio"):
        open_reader([f"{root}/*.recordio"], {})
    with pytest.raises(OptionError, match=r"data: there is no file .*/a\.recordio"):
        open_reader([f"{root}/a.recordio"], {})
    with pytest.raises(
        OptionError, match=r"data: pulsar://host/t: nothing is known of pulsar://\. Files are read on this"
    ):
        open_reader(["pulsar://host/t"], {})


@pytest.mark.parametrize(("url", "extra", "module"), [("s3://b/x.csv", "s3", "s3fs"), ("gs://b/x.csv", "gs", "gcsfs")])
def test_support_that_is_not_installed_is_named(monkeypatch, url, extra, module):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, extra, raising=False)
    with pytest.raises(
        OptionError, match=rf'support for {extra}:// is not installed; pip install "elasticdl_nb\[{extra}\]"'
    ):
        open_reader([url], {})
