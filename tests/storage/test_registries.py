"""Folders of jobs and stored models: whatever a killed process leaves is the old or the new, and goes with the next."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from crashes import kills

from elasticdl_nb.runtime.platform.supervisor import Supervisor
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.sql.language.statements import Name
from elasticdl_nb.sql.models.store import ModelStore

OLD, NEW = (JobSpec.create("train", model_def=model, data="d", job_name="job") for model in ("old", "new"))


def use(root: Path) -> None:
    os.environ["ELASTICDL_HOME"] = str(root)


def an_old_job(root: Path) -> None:
    use(root)
    JobFolder.create(OLD).mark_over()


def models() -> list[str]:
    """What the jobs that can be found train; each must be whole."""
    assert all(len(job.token()) == 64 and job.logs.is_dir() and job.zoo.is_dir() for job in JobFolder.all())
    return sorted(job.spec().model_def for job in JobFolder.all())


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path))  # put back, whatever `use` does


def test_a_job_that_is_over_keeps_no_secret() -> None:
    def bury(job: JobFolder) -> None:
        Supervisor._bury(SimpleNamespace(_folder=job.path))  # type: ignore[arg-type]

    for end in (JobFolder.mark_over, bury):
        job = JobFolder.create(NEW)
        job.write_feeder("module", {"connect": "mysql://me:secret@host/shop"})
        end(job)
        assert job.is_over() and not (job.path / "feeder.json").exists() and job.feeder() == ("", {})
        job.remove()


def test_a_client_that_is_killed_while_it_makes_a_job_s_folder_leaves_only_whole_jobs() -> None:
    count = 0
    for number, root in kills(an_old_job, lambda root: print(JobFolder.create(NEW))):
        use(root)
        assert models() in (["old"], ["new", "old"]), number
        JobFolder.create(NEW)
        assert models() in (["new", "old"], ["new", "new", "old"]), number
        assert not [path.name for path in (root / "jobs").iterdir() if path.name.startswith(".")], number
        count += 1
    assert count > 5


def test_a_client_that_is_killed_while_it_deletes_a_job_leaves_it_whole_or_not_at_all() -> None:
    count = 0
    for number, root in kills(an_old_job, lambda root: JobFolder.find("job").remove()):
        use(root)
        assert models() in (["old"], []), number
        JobFolder.create(NEW)
        assert not [path.name for path in (root / "jobs").iterdir() if path.name.startswith(".")], number
        count += 1
    assert count > 5


def a_model(root: Path) -> None:
    path = root / "models" / "m"
    (path / "zoo" / "deep").mkdir(parents=True)
    for name in ("trained_model.pb", "parameters.safetensors", "zoo/a.py", "zoo/deep/b.py"):
        (path / name).write_text("x")


def test_a_session_that_is_killed_while_it_drops_a_model_leaves_it_whole_or_not_at_all() -> None:
    count = 0
    for number, root in kills(a_model, lambda root: print(ModelStore(str(root / "models")).drop(Name("m", 0)))):
        store, path = ModelStore(str(root / "models")), root / "models" / "m"
        assert store.names() == (["m"] if path.exists() else []), number
        assert not path.exists() or len(list(path.rglob("*"))) == 6, number
        if not path.exists():
            a_model(root)
        store.drop(Name("m", 0))
        assert not list((root / "models").iterdir()), number
        count += 1
    assert count > 5


def test_the_next_master_removes_what_one_left_that_was_killed_while_it_told_its_address() -> None:
    count = 0

    def say(root: Path) -> None:
        use(root)
        next(iter(JobFolder.all())).write_master("127.0.0.1:1")

    for _, root in kills(an_old_job, say):
        count += 1
        use(root)
        (folder,) = JobFolder.all()
        folder.write_master("127.0.0.1:2")
        assert folder.master() is not None
        assert [path.name for path in folder.path.iterdir() if path.name.startswith(".master")] == []
    assert count > 1
