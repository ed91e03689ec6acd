from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from scripted_master import make_folder

from elasticdl_nb.job.frontend import in_live_notebook
from elasticdl_nb.job.launch import launch, tail
from elasticdl_nb.job.naming import make_name, subject_of
from elasticdl_nb.runtime.errors import JobFailed, OptionError
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.spec.forms import JOB_NAME
from elasticdl_nb.runtime.storage.jobfolder import JobFolder


def test_a_master_that_dies_at_once_is_told_with_the_end_of_its_log(folder):
    (folder.path / "spec.json").write_text("no JSON")
    with pytest.raises(JobFailed, match=r"ended at once, with exit code 1:(.|\n)*JSONDecodeError"):
        launch(folder)


def test_tail(tmp_path):
    path = tmp_path / "x.log"
    assert tail(path, 3) == ""
    path.write_text("a\nb\nc")
    assert (tail(path, 2), tail(path, 0), tail(path, None)) == ("b\nc", "", "a\nb\nc")


# ------------------------------------------------------------------ names and folders


@pytest.mark.parametrize(
    ("kind", "given", "start"),
    [
        ("train", {"model_def": "regressor.wide_and_deep.MagicalWAD"}, "train-MagicalWAD-20261122-0418-"),
        ("train", {"model_def": "wide_and_deep.custom_model"}, "train-wide_and_deep-20261122-0418-"),
        ("predict", {"trained_model": "/a/my model/", "output": "x"}, "predict-my_model-20261122-0418-"),
        ("evaluate", {"trained_model": "gs://b/日本"}, "evaluate-"),
        ("train", {"model_def": "m" * 200}, "train-m"),
    ],
)
def test_names_are_made_up_from_what_the_job_does(kind, given, start):
    when = time.struct_time((2026, 11, 22, 4, 18, 0, 0, 0, 0))
    name = make_name(kind, subject_of(JobSpec.create(kind, data="x", **given)), when, random.Random(1))
    assert name.startswith(start)
    assert JOB_NAME.fullmatch(name)


def test_a_name_in_use_is_refused(folder, master):
    with pytest.raises(OptionError, match="job_name: 'job' is in use by a running job"):
        make_folder("job")
    master.end(pb.SUCCEEDED)
    again = make_folder("job")
    assert again.path == folder.path
    assert again.status() is None
    assert {other.name for other in JobFolder.all()} == {"job", "job~1"}


def test_a_name_is_in_use_while_its_job_is_prepared():
    spec = JobSpec.create("train", model_def="m", data="x", job_name="job")
    with JobFolder.prepare(spec), pytest.raises(OptionError, match="job_name: 'job' is in use"):
        make_folder("job")
    make_folder("job")


def test_a_job_that_cannot_be_prepared_gives_its_name_back(folder):
    (folder.logs / "master.log").write_text("kept")
    with pytest.raises(ZeroDivisionError), JobFolder.prepare(folder.spec()):
        1 / 0  # noqa: B018
    assert [path.name for path in folder.path.parent.iterdir()] == ["job"]
    assert (folder.logs / "master.log").read_text() == "kept"


def test_only_one_of_many_at_once_gets_a_name(home):
    code = (
        "import sys\n"
        "from elasticdl_nb.runtime.storage.jobfolder import JobFolder\n"
        "from elasticdl_nb.runtime.spec import JobSpec\n"
        "try:\n"
        "    with JobFolder.prepare(JobSpec.create('train', model_def='m', data='x', job_name='job')):\n"
        "        print('got it', flush=True); sys.stdin.read()\n"
        "except Exception as error: print('refused' if 'in use' in str(error) else error, flush=True)\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    answers = sorted(process.stdout.readline().strip() for process in processes)  # type: ignore[union-attr]
    for process in processes:
        process.communicate("")
    assert answers == ["got it", "refused", "refused", "refused"]


def test_the_token_is_for_its_owner_only(folder):
    assert (folder.path / "token").stat().st_mode & 0o777 == 0o600
    assert folder.path.stat().st_mode & 0o077 == 0


# ------------------------------------------------------------------ notebooks


@pytest.mark.parametrize(("allow_stdin", "live"), [(True, True), (False, False), (None, False)])
def test_a_notebook_is_live_if_somebody_could_answer(allow_stdin, live, monkeypatch):
    import IPython

    class Kernel:
        def get_parent(self, channel: str) -> dict[str, object]:
            return {} if allow_stdin is None else {"content": {"allow_stdin": allow_stdin}}

    for shell, expected in ((None, False), (object(), False), (SimpleNamespace(kernel=Kernel()), live)):
        monkeypatch.setattr(IPython, "get_ipython", lambda shell=shell: shell)
        assert in_live_notebook() == expected


# ------------------------------------------------------------------ terminals


def test_on_a_terminal_the_picture_is_live(folder, master):
    master.set(records_done=450_000, records_total=1_000_000, progress=0.45)
    parent, child = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "elasticdl_nb", "attach", "job", "--json"],
        stderr=child,
        stdout=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(child)
    shown = b""
    while b"450K of 1.0M records" not in shown:
        shown += os.read(parent, 4096)
    master.end(pb.SUCCEEDED)
    out, _ = process.communicate(timeout=30)
    os.close(parent)
    assert json.loads(out)["phase"] == "succeeded"
    assert b"45%" in shown


def test_nothing_is_left_of_a_launch_that_was_interrupted(folder):
    code = (
        "import sys\n"
        "from elasticdl_nb.job import launch\n"
        "from elasticdl_nb.cli.signals import interruptible\n"
        "from elasticdl_nb.runtime.storage.jobfolder import JobFolder\n"
        "def never(folder, supervisor, log): print(supervisor.process.pid, flush=True); supervisor.process.wait()\n"
        "launch._wait_until_it_listens = never\n"
        "with interruptible():\n"
        "    launch.launch(JobFolder(sys.argv[1]))\n"
    )
    client = subprocess.Popen(
        [sys.executable, "-c", code, folder.path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert client.stdout is not None
    pid = int(client.stdout.readline())
    client.send_signal(signal.SIGINT)
    assert "Interrupted" in client.communicate(timeout=30)[1]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
