from __future__ import annotations

import os
import stat
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from elasticdl_nb.given.paths import absolute, check_checkpoint_dir, check_output, with_absolute_paths
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.spec import JobSpec


def spec(kind: str = "train", **given: object) -> JobSpec:
    needed = {"model_def": "m"} if kind == "train" else {"trained_model": "/trained"}
    return with_absolute_paths(JobSpec.create(kind, **{"data": "/data/x.csv", **needed, **given}))


def refused(job: JobSpec) -> str:
    with pytest.raises(OptionError) as caught:
        check_output(job)
    assert caught.value.option == "output"
    return str(caught.value)


@pytest.mark.parametrize("path", ["gs://b/x", "s3://b/*.csv", "memory://x", "git@host:me/zoo", "file:///x", "", "/a/b"])
def test_urls_and_absolute_paths_stay_as_they_are(path):
    assert absolute(path) == path


def test_relative_paths_become_absolute_and_directories_stay_directories(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = spec("predict", data=["a/*.csv", "gs://b/c"], trained_model="m", output="./out/")
    assert job.data == (f"{tmp_path}/a/*.csv", "gs://b/c")
    assert (job.trained_model, job.output) == (f"{tmp_path}/m", f"{tmp_path}/out/")


def test_a_new_output_may_be_written_anywhere_one_may_write(tmp_path):
    check_output(spec(output=tmp_path / "a" / "b"))
    check_output(spec("predict", output=tmp_path / "p.csv"))
    check_output(spec())

    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(
    not os.path.isdir("/proc/self"), reason="needs /proc, which lets root write but has room for nothing"
)
def test_whether_one_may_write_is_tried_and_not_asked():
    said = refused(spec(output="/proc/x/y"))
    assert said.startswith("output: /proc/x/y cannot be written: nothing can be made in /proc (")
    with pytest.raises(OptionError, match=r"^checkpoint_dir: /proc/x cannot be written: nothing can be made in /proc"):
        check_checkpoint_dir(spec(checkpoint_dir="/proc/x"))


def test_checkpoints_may_go_anywhere_one_may_write(tmp_path):
    check_checkpoint_dir(spec(checkpoint_dir=tmp_path / "a" / "b"))
    with pytest.raises(OptionError, match="is a URL; checkpoints need a directory"):
        check_checkpoint_dir(spec(checkpoint_dir="gs://bucket/x"))
    check_checkpoint_dir(spec())
    assert not list(tmp_path.iterdir())


class Frozen(MemoryFileSystem):
    """An object store that may be read."""

    protocol = "frozen"

    def pipe_file(self, path, value, **options):
        raise PermissionError("read only")


def test_writing_to_an_object_store_is_tried_too():
    fsspec.register_implementation("frozen", Frozen, clobber=True)
    assert "frozen://x/y cannot be written: read only" in refused(spec(output="frozen://x/y"))
    check_output(spec(output="memory://x/y"))
    assert not [name for name in MemoryFileSystem.store if "elasticdl" in name]


def test_an_empty_directory_is_as_good_as_none(tmp_path):
    check_output(spec(output=tmp_path))


def test_an_existing_result_is_replaced_only_when_told_so(tmp_path):
    (tmp_path / "trained_model.pb").touch()
    assert "already exists" in refused(spec(output=tmp_path))
    assert "--overwrite" in refused(spec(output=tmp_path))
    check_output(spec(output=tmp_path, overwrite=True))


def test_other_peoples_directories_are_never_replaced(tmp_path):
    (tmp_path / "thesis.tex").touch()
    for kind in ("train", "predict"):
        assert "has more in it" in refused(spec(kind, output=tmp_path, overwrite=True))


def test_a_directory_of_predictions_may_be_replaced(tmp_path):
    (tmp_path / "part-00000.parquet").touch()
    assert "already exists" in refused(spec("predict", output=tmp_path))
    check_output(spec("predict", output=tmp_path, overwrite=True))


def test_the_form_of_the_output_has_to_fit_what_is_there(tmp_path):
    (tmp_path / "d.csv").mkdir()
    (tmp_path / "file").touch()
    assert "is a directory" in refused(spec("predict", output=tmp_path / "d.csv", overwrite=True))
    assert "is a file" in refused(spec(output=tmp_path / "file", overwrite=True))
    assert "is a file" in refused(spec("predict", output=tmp_path / "file", overwrite=True))
    assert "is not a directory" in refused(spec(output=tmp_path / "file" / "below"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory_is_refused(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert "Permission denied" in refused(spec(output=tmp_path / "a"))


def test_a_job_does_not_destroy_its_own_inputs(tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    assert "replace the job's own data" in refused(spec(output=data, data=f"{data}/*.csv", overwrite=True))
    assert "replace the job's own data" in refused(spec(output=tmp_path, data=f"{data}/x.csv", overwrite=True))
    assert "trained_model" in refused(spec("predict", output=data, trained_model=data, overwrite=True))
    assert "model_zoo" in refused(spec(output=tmp_path, model_zoo=data, overwrite=True))


def test_a_result_does_not_become_the_next_jobs_data(tmp_path):
    assert "become part" in refused(spec("predict", output=tmp_path / "p.csv", data=f"{tmp_path}/*.csv"))
    assert "become part" in refused(spec(output=tmp_path / "model", data=str(tmp_path)))
    check_output(spec("predict", output=tmp_path / "p.csv", data=f"{tmp_path}/x-*.csv"))


def test_remote_outputs_are_looked_up(tmp_path):
    import fsspec

    files = fsspec.filesystem("memory")
    files.pipe("/bucket/model/trained_model.pb", b"x")
    try:
        assert "already exists" in refused(spec(output="memory://bucket/model"))
        check_output(spec(output="memory://bucket/other"))
        check_output(spec(output="memory://bucket/model", overwrite=True))
        assert "is unreachable" in refused(spec(output="nosuch://bucket/model"))
    finally:
        files.rm("/bucket", recursive=True)
