"""The `elasticdl` command as its own process, against masters that do as they are told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from scripted_master import make_folder

from elasticdl_nb import runtime
from elasticdl_nb.cli import main
from elasticdl_nb.cli.arguments import JobParser
from elasticdl_nb.cli.output import users_part
from elasticdl_nb.runtime.protocol import master_pb2 as pb


def command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "elasticdl_nb", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def given(*arguments: str, kind: str = "train") -> dict[str, str]:
    return JobParser(kind).parse(arguments).given  # type: ignore[arg-type]


# ------------------------------------------------------------------ flags


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--num_epochs=2"], {"num_epochs": "2"}),
        (["--num_epochs", "2"], {"num_epochs": "2"}),
        (["--num-epochs=2", "--job-name=a-b"], {"num_epochs": "2", "job_name": "a-b"}),
        (["--training_data", "x", "--model", "m"], {"training_data": "x", "model": "m"}),
        (["--overwrite"], {"overwrite": "true"}),
        (["--overwrite=false"], {"overwrite": "false"}),
        (["--no_saved_model", "--no-shuffle"], {"saved_model": "false", "shuffle": "false"}),
        (["--params=a=1, b='x=y'"], {"params": "a=1, b='x=y'"}),
        (["--num_epochs=1", "--num_epochs=2"], {"num_epochs": "2"}),
    ],
)
def test_flags(arguments, expected):
    assert given(*arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--num_epoch=3"], "elasticdl train: no such option: --num_epoch. Did you mean '--num_epochs'?"),
        (["train", "--trained_model=x"], "--trained_model: not an option of train, only of evaluate and predict"),
        (["train", "x.recordio"], "unexpected argument 'x.recordio' (quote globs"),
        (["train", "--num_epochs"], "argument --num_epochs: expected one argument"),
        (["train", "--data=x"], "elasticdl train: --model_def: required (also called model)."),
        (["train", "--model_def=m", "--data=x", "--num_epochs=two"], "--num_epochs: 'two' is not valid"),
        (["train", "--image_bass=x"], "no such option: --image_bass. Did you mean '--image_base'?"),
        (["trian"], "elasticdl trian: no such command. Did you mean 'train'?"),
        (["attach", "nothing"], "no job named 'nothing' on this machine"),
        (["logs"], "the following arguments are required: NAME"),
        (["data", "convrt"], "no such command: data convrt. Did you mean 'convert'?"),
        (
            ["data", "convert", "a", "b", "--data_reader_params=x"],
            "--data_reader_params: expected arguments",
        ),
    ],
)
def test_mistakes_are_one_message_and_exit_code_2(arguments, message, capsys, home):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""
    assert not list(home.glob("jobs/*"))


def test_mistakes_are_told_together(capsys):
    assert main(["train", "--num_epochs=two"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.removeprefix("elasticdl train: ").split(":")[0] for line in told] == [
        "--num_epochs", "--model_def", "--data",
    ]  # fmt: skip


def test_a_mistake_is_json_too_where_json_is_wanted(capsys):
    assert main(["train", "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["phase"] == "refused"
    assert "model_def" in answer["error"]


@pytest.mark.parametrize("arguments", [[], ["--help"], ["train", "--help"], ["data"], ["data", "convert", "--help"]])
def test_help_goes_to_stdout(arguments, capsys):
    assert main(arguments) == 0
    assert "usage: elasticdl" in capsys.readouterr().out


# ------------------------------------------------------------------ jobs that run


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["train", "--help"], ["jobs"], ["sql", "-e", "SELECT 1"], ["train", "--json"]],
    ids=" ".join,
)
def test_a_reader_that_leaves_ends_a_command_quietly(arguments, folder):
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run([sys.executable, "-m", "elasticdl_nb", *arguments], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    refusal = b"elasticdl train: --model_def" if arguments == ["train", "--json"] else b""
    assert (ended.returncode, ended.stderr.partition(b": required")[0]) == (128 + signal.SIGPIPE, refusal)


def test_a_reader_of_errors_that_leaves_does_no_harm(folder):
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run([sys.executable, "-m", "elasticdl_nb", "trian"], stdout=subprocess.PIPE, stderr=writing)
    os.close(writing)
    assert (ended.returncode, ended.stdout) == (128 + signal.SIGPIPE, b"")


def test_attach_shows_the_job_to_its_end(folder, master):
    process = command("attach", "job", "--json")
    assert master.watched.wait(30)
    evaluations = [pb.Evaluation(step=7, metrics={"auc": 0.75, "nan": float("nan")})]
    master.end(pb.SUCCEEDED, evaluations=evaluations, records_done=10, step=7, outputs=["/out"])
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    answer = json.loads(out.splitlines()[-1])
    assert answer["metrics"] == {"auc": 0.75, "nan": None}
    assert (answer["name"], answer["phase"], answer["records"], answer["error"]) == ("job", "succeeded", 10, None)
    assert "evaluation at step 7: auc 0.75" in err


def test_a_failed_job_is_told_with_the_users_part_of_its_traceback(folder, master, capsys):
    traceback = (
        "Traceback (most recent call last):\n"
        f'  File "{runtime.__path__[0]}/worker/worker.py", line 1, in run\n    task()\n'
        f'  File "{folder.zoo}/model.py", line 3, in loss\n    return 1 / 0\n'
        "ZeroDivisionError: division by zero\n"
    )
    master.end(pb.FAILED, failure=pb.Failure(message="loss failed: division by zero", traceback=traceback))
    assert main(["attach", "job", "--quiet"]) == 1
    err = capsys.readouterr().err
    assert "job job failed: loss failed: division by zero" in err
    assert "model.py" in err
    assert "worker.py" not in err
    assert str(folder.logs) in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_leaving_an_attached_job_does_not_end_it(folder, master, number, code):
    process = command("attach", "job")
    assert master.watched.wait(30)
    process.send_signal(number)
    assert "keeps running" in process.communicate(timeout=30)[1]
    assert process.returncode == code
    assert not master.cancelled_because


def test_cancel_returns_once_the_job_is_gone(folder, master, capsys):
    assert main(["cancel", "job"]) == 0
    assert not folder.is_alive()
    assert "job: cancelled" in capsys.readouterr().out
    assert main(["cancel", "job"]) == 0
    assert "has already ended: cancelled" in capsys.readouterr().err
    assert main(["attach", "job", "--quiet"]) == 130


def test_jobs_are_listed_with_the_newest_first(start_master, capsys):
    masters = [start_master(make_folder(name)) for name in ("older", "newer")]
    masters[0].end(pb.SUCCEEDED, progress=1.0, evaluations=[pb.Evaluation(metrics={"auc": 0.9})])
    masters[1].set(progress=0.25)
    assert main(["jobs", "--json"]) == 0
    newer, older = json.loads(capsys.readouterr().out)
    assert (newer["name"], newer["phase"], newer["progress"]) == ("newer", "running", 0.25)
    assert (older["name"], older["phase"], older["metrics"]) == ("older", "succeeded", {"auc": 0.9})
    assert main(["jobs"]) == 0
    table = capsys.readouterr().out
    assert table.index("newer") < table.index("older")
    assert "auc 0.9" in table
    assert main(["jobs", "--running", "--json"]) == 0
    assert [job["name"] for job in json.loads(capsys.readouterr().out)] == ["newer"]


def test_logs_of_one_worker(folder, capsys):
    (folder.logs / "worker-0.log").write_text("one\ntwo\n")
    (folder.logs / "worker-1.log").write_text("three\n")
    assert main(["logs", "job", "--role", "worker", "--index", "0", "--tail=1"]) == 0
    assert capsys.readouterr().out == "two\n"


def test_following_logs_ends_with_the_job_and_misses_nothing(folder, master):
    log = folder.logs / "worker-0.log"
    log.write_text("first\n")
    process = command("logs", "job", "-f")
    assert process.stdout is not None
    assert process.stdout.readline() == "first\n"
    with open(log, "a") as file:
        file.write("second\nlast")
    master.end(pb.SUCCEEDED)
    assert process.communicate(timeout=30)[0] == "second\nlast\n"
    assert process.returncode == 0


# ------------------------------------------------------------------ data


def test_data_is_converted(tmp_path, capsys):
    source, output = tmp_path / "x.csv", tmp_path / "x.parquet"
    source.write_text("a,b\n1,2\n3,4\n")
    assert main(["data", "convert", str(source), str(output), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["records"], answer["files"]) == (2, [str(output)])
    assert main(["data", "convert", str(source), str(output)]) == 2
    assert f"elasticdl data: output: {output} exists" in capsys.readouterr().err
    assert main(["data", "convert", str(source), str(output), "--overwrite", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


# ------------------------------------------------------------------ tracebacks


def test_of_a_traceback_only_the_users_frames_are_shown():
    traceback = (
        "in user code:\n\n"
        '    File "/zoo/model.py", line 3, in loss  *\n        return helper(labels)\n'
        '    File "/zoo/helpers.py", line 7, in helper\n        raise ValueError\n\n    ValueError: x\n\n'
        "Traceback (most recent call last):\n"
        '  File "/x/site-packages/keras/a.py", line 1, in f\n    f()\n    ^^^\n'
        '  File "/zoo/model.py", line 3, in loss\n    return helper(labels)\n'
        '  File "/tmp/__autograph_generated_file1.py", line 3, in loss\n    ag__\n'
        '  File "<string>", line 1\n'
        "ValueError: x\n"
    )
    assert users_part(traceback) == (
        '  File "/zoo/model.py", line 3, in loss\n    return helper(labels)\n'
        '  File "/zoo/helpers.py", line 7, in helper\n    raise ValueError'
    )
    assert users_part("") == ""
