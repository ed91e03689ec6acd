"""Makes `live-view.png`, which README and these documents begin with, from a real run of README's first program.

`python docs/make_picture.py` needs everything that the tests need, and a Chromium. The program runs in JupyterLab with
two workers and more epochs, of which one worker does not live to see all.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent / "tests" / folder) for folder in ("", "notebooks")]

from labs import cell, chromium_page, first_program, open_notebook, press_run, running_lab, write_notebook  # noqa: E402

from elasticdl_nb.runtime.chaos import processes  # noqa: E402
from elasticdl_nb.runtime.storage.jobfolder import JobFolder  # noqa: E402

_SLOWEST_SECONDS = 300.0


def program() -> str:
    """README's first program up to the training, for two workers and a longer run."""
    training, _, _ = first_program().partition("print(")
    return training.replace("num_epochs=5,", 'num_epochs=150, num_workers=2, job_name="circle",')


def main() -> None:
    """Run the program, kill a worker, and take the picture when about two thirds are done."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "work"
        folder.mkdir()
        write_notebook(folder / "first.ipynb", [program()])
        with running_lab(Path(place), folder) as lab, chromium_page(1150, 1800, device_scale_factor=1.5) as page:
            open_notebook(page, lab.url("first.ipynb"))
            press_run(page, 0)
            job = JobFolder(lab.home / "jobs" / "circle")
            wait_for(job, 0.25)
            processes(job)["worker-1"].kill()
            wait_for(job, 0.6)
            page.wait_for_timeout(2500)  # the curves are drawn every two seconds
            cell(page, 0).locator(".edl-view").first.screenshot(path=DOCS / "live-view.png")
            from elasticdl_nb.job import Job

            Job(job).cancel()


def wait_for(job: JobFolder, progress: float) -> None:
    """Return when so much of the job is done."""
    from elasticdl_nb.job import Job

    deadline = time.monotonic() + _SLOWEST_SECONDS
    while time.monotonic() < deadline:
        if job.path.exists() and Job(job).status().progress >= progress:
            return
        time.sleep(0.2)
    raise SystemExit("the job is too slow")


if __name__ == "__main__":
    main()
