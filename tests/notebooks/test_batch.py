"""The notebooks as papermill and CI run them."""

from __future__ import annotations

import html
import os
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import nbformat
import papermill
import pytest
from labs import checkout, commands_of_the_readme, first_program

# Each job imports TensorFlow anew, which a busy machine takes its time for.
pytestmark = pytest.mark.timeout(900)

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    return tmp_path


def run(notebook: Path, place: Path, **parameters) -> nbformat.NotebookNode:
    papermill.execute_notebook(
        notebook, place / "out.ipynb", parameters=parameters, cwd=place, progress_bar=False, kernel_name="python3"
    )
    return nbformat.read(place / "out.ipynb", 4)


def outputs(notebook: nbformat.NotebookNode, start: str) -> list[nbformat.NotebookNode]:
    return next(cell.outputs for cell in notebook.cells if cell.cell_type == "code" and start in cell.source)


def pictures(notebook: nbformat.NotebookNode, start: str) -> list[str]:
    return [one.data["text/html"] for one in outputs(notebook, start) if one.output_type == "display_data"]


def value(notebook: nbformat.NotebookNode, start: str) -> str:
    return next(one.data["text/plain"] for one in outputs(notebook, start) if one.output_type == "execute_result")


def demo(place: Path) -> Path:
    """Run README's first command as it stands; return the notebook it leaves."""
    folder = checkout(place)
    subprocess.run(commands_of_the_readme()[0], shell=True, cwd=folder, check=True)
    assert (folder / "demo-output" / "quickstart.html").stat().st_size > 100_000
    return folder / "demo-output" / "quickstart.ipynb"


def test_the_quickstart_learns_and_leaves_its_pictures(place):
    made = os.environ.get("ELASTICDL_TEST_QUICKSTART")  # the executed notebook, where `make demo` has just left it
    done = nbformat.read(made or demo(place), 4)
    metrics = eval(value(done, "job.wait()"))
    assert metrics["auc"] > 0.67 and metrics["accuracy"] > 0.75
    assert eval(value(done, "evaluation.metrics"))["auc"] > 0.6
    (birds,) = pictures(done, "--as birds")
    assert "Succeeded" in birds
    assert "sex: 11 of 344 missing, a category of their own" in printed(done, "--as birds")
    assert "Adelie" in value(done, "elasticdl_nb.predict(birds")
    (picture,) = pictures(done, "LATE_MINUTES")
    assert "Succeeded" in picture and "data:image/svg+xml;base64," in picture and "<script" not in picture
    assert len(picture) < 100_000
    milestones = printed(done, "LATE_MINUTES")
    assert "train job train-LateArrival" in milestones and "evaluation at step" in milestones
    assert not any(
        "widget" in kind for cell in done.cells for one in cell.get("outputs", ()) for kind in one.get("data", ())
    )
    assert "image/png" in outputs(done, "by_hour")[-1].data


def test_three_kinds_of_data_give_the_same_result(place):
    done = run(NOTEBOOKS / "custom_training_data.ipynb", place, num_epochs=10)
    table = value(done, "jobs = {")
    accuracies = [float(line.split()[1]) for line in table.splitlines()[1:]]
    assert len(accuracies) == 3 and min(accuracies) > 0.9


def test_parameter_servers_learn_in_step_and_out_of_step(place):
    done = run(NOTEBOOKS / "parameter_server.ipynb", place)
    lines = value(done, "def summary").splitlines()[1:]
    asynchronous, synchronous = (line.split() for line in lines)
    assert asynchronous[1] == synchronous[1] == "294612"
    assert int(asynchronous[2]) == 576 and int(synchronous[2]) == 288
    assert float(asynchronous[3]) > 0.75 and float(synchronous[3]) > 0.75
    rows = sum(int(line.split()[1]) for line in value(done, "servers = [").splitlines()[1:])
    assert 5_000 < rows < 50_000
    said = next(one.text for one in outputs(done, "served = tf") if one.get("name") == "stdout").split()
    assert abs(float(said[1].strip(";")) - float(said[-1])) < 0.002
    assert "ps-1" in pictures(done, "--as asynchronous")[0]


def test_an_elastic_job_uses_every_record_whatever_dies(place):
    done = run(NOTEBOOKS / "elastic.ipynb", place, num_epochs=2)
    said = printed(done, "status = job.status()")
    assert "589,224 records used: 2 times 294,612" in said and "1 time(s) back to a checkpoint" in said
    assert eval(value(done, "status = job.status()"))["auc"] > 0.68
    course = printed(done, "axvline")
    assert "continues with 2 worker(s)" in course and "worker-0 was killed" in course and "ps-0 was killed" in course
    assert "image/png" in next(one.data for one in outputs(done, "axvline") if one.output_type == "display_data")


def test_a_table_within_bounds_costs_little_and_is_served(place):
    done = run(NOTEBOOKS / "tables.ipynb", place, num_records=150_000, max_rows=5_000)
    lines = value(done, "def summary").splitlines()[1:]
    unbounded, bounded = ([float(number) for number in line.split()[1:]] for line in lines)
    assert unbounded[0] > 20_000 and bounded[0] <= 5_000 and bounded[3] > 0
    assert bounded[1] < unbounded[1] and bounded[4] > unbounded[4] - 0.02 > 0.55
    served = [line.split()[1:3] for line in value(done, "def ask").splitlines()[1:]]
    assert len(served) == 3 and all(abs(float(one) - float(other)) < 1e-4 for one, other in served)
    assert "seen once" in printed(done, "views = ")


def test_a_model_that_goes_on_learning_predicts_better_than_one_that_stopped(place):
    done = run(NOTEBOOKS / "online.ipynb", place, every=4)
    said = printed(done, "axvline")
    learning, frozen = (float(number) for number in re.findall(r"0\.\d{3}", said))
    above, windows = map(int, re.findall(r"above in (\d+) of (\d+)", said)[0])
    assert learning > frozen + 0.01 > 0.6 and windows >= 15 and above > windows / 2
    assert "image/png" in next(one.data for one in outputs(done, "axvline") if one.output_type == "display_data")


def printed(notebook: nbformat.NotebookNode, start: str) -> str:
    return "".join(one.text for one in outputs(notebook, start) if one.get("name") == "stdout")


def texts(notebook: nbformat.NotebookNode, start: str) -> str:
    return "\n".join(one.data["text/plain"] for one in outputs(notebook, start) if one.output_type == "display_data")


def test_sql_trains_evaluates_explains_and_predicts_into_a_column(place):
    done = run(NOTEBOOKS / "sql.ipynb", place, num_epochs=10)
    accuracy = eval(value(done, "job.wait()"))["accuracy"]
    assert accuracy > 0.7
    assert "DNNClassifier" in texts(done, "SHOW TRAIN") and "age: number" in texts(done, "SHOW TRAIN")
    assert "age is NULL in 211 of 1,048 rows" in printed(done, "INTO survival")
    assert abs(float(value(done, "score.df()").split()[-1]) - accuracy) < 1e-5
    explained = [line.split() for line in texts(done, "TO EXPLAIN").splitlines() if line.startswith((" sex", " age"))]
    assert {name: float(importance) > 0.05 for name, importance, _ in explained}["sex"]
    assert "image/svg+xml" in "".join(pictures(done, "TO EXPLAIN"))
    assert "1,309 rows predicted into passengers.predicted" in texts(done, "TO PREDICT")
    groups = [line.split()[-3:] for line in value(done, "groups.df()").splitlines()[1:]]
    assert [int(count) for count, _, _ in groups] == [26, 38, 20, 36, 37, 104]
    assert float(groups[0][2]) > 0.9 and float(groups[-1][2]) < 0.2
    assert "image/png" in outputs(done, "plt")[-1].data


def test_the_first_program_of_the_readme_runs_in_batch(place):
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in (first_program(), "job.plot(job.name)")]
    nbformat.write(notebook, place / "in.ipynb")
    done = run(place / "in.ipynb", place)
    assert "'accuracy': 0.9" in printed(done, "import keras") and "probability" in printed(done, "import keras")
    (curves,) = [one.data for one in outputs(done, "job.plot") if one.output_type == "execute_result"]
    assert "data:image/svg+xml" in curves["text/html"] and "loss: " in curves["text/plain"]


def test_the_commands_of_the_readme_open_the_quickstart(place, monkeypatch):
    demo, lab = commands_of_the_readme()
    assert (demo, lab) == ("make demo", "make lab")  # the first is run above, or just before these tests
    opened, browser = place / "opened.html", place / "browser"
    browser.write_text(f'#!/bin/sh\ncp "${{1#file://}}" {opened}.part && mv {opened}.part {opened}\n')
    browser.chmod(0o755)
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(place / name.lower()))
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    server = subprocess.Popen(lab, shell=True, cwd=checkout(place), start_new_session=True, stdin=subprocess.DEVNULL)
    try:
        while not opened.exists():
            assert server.poll() is None
            time.sleep(0.1)
        address = html.unescape(re.search(r'href="(http[^"]+)"', opened.read_text())[1])
        assert "/lab/tree/notebooks/quickstart.ipynb" in address
        with urllib.request.urlopen(address, timeout=60) as page:
            assert page.status == 200 and b"JupyterLab" in page.read()
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


BROKEN = """\
%%elasticdl_train --data data.csv --dataset_fn dataset_fn --loss mse --optimizer sgd --num_epochs 1
def custom_model():
    return build(3)

def build(width):
    raise ValueError(f"no model of width {width}")

def dataset_fn(dataset, mode):
    return dataset
"""


def test_a_model_that_raises_fails_the_run_with_its_own_traceback(place):
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in ("%load_ext elasticdl_nb", BROKEN, "after = 1")]
    nbformat.write(notebook, place / "in.ipynb")
    (place / "data.csv").write_text("x,y\n1,2\n3,4\n")
    with pytest.raises(papermill.PapermillExecutionError, match="no model of width 3"):
        run(place / "in.ipynb", place)
    done = nbformat.read(place / "out.ipynb", 4)
    shown = outputs(done, "%%elasticdl_train")
    error = next(one for one in shown if one.output_type == "error")
    assert "in build" in "\n".join(error.traceback) and error.ename == "JobFailed"
    assert "failed" in pictures(done, "%%elasticdl_train")[0]
    assert not outputs(done, "after = 1")
    assert os.listdir(place / "home" / "jobs")
