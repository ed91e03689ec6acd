"""A live notebook in JupyterLab, in a headless Chromium: the view, its buttons, and what a saved notebook keeps.

One JupyterLab serves all tests. Screenshots go to `build/screenshots`.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbconvert
import nbformat
import pytest
from labs import Lab, cell, chromium_page, first_program, open_notebook, press_run, running_lab, write_notebook

from elasticdl_nb.runtime.chaos import processes
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.storage.locks import Process

pytestmark = [pytest.mark.needs("browser"), pytest.mark.timeout(600)]

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"

# More epochs than any machine gets through meanwhile: Stop ends it. Each call of dataset_fn writes a flood of lines.
TRAIN = """\
%%elasticdl_train --data data.csv --num_epochs 1000000 --minibatch_size 8 --loss mse --optimizer sgd
--job_name NAME --distribution_strategy ParameterServerStrategy --num_workers 1 --validation_data data.csv
--checkpoint_steps 200 --evaluation_steps 400
def custom_model():
    import keras
    return keras.Sequential([keras.layers.Dense(1)])

def dataset_fn(dataset, mode):
    import tensorflow as tf
    for number in range(2000):
        print("line", number, "of a flood", "." * 60)
    return dataset.map(lambda row: (tf.strings.to_number(row[:1]), tf.strings.to_number(row[1:])))
"""
CELLS = ["%load_ext elasticdl_nb", TRAIN, 'f"{40 + 2} is the answer"', "%elasticdl_attach NAME", "job.wait()", "job"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    place = tmp_path_factory.mktemp("lab")
    folder = place / "work"
    folder.mkdir()
    (folder / "data.csv").write_text("x,y\n" + "".join(f"{n / 64},{n / 32}\n" for n in range(64)))
    for name in ("live", "left"):
        write_notebook(folder / f"{name}.ipynb", [source.replace("NAME", name) for source in CELLS])
    write_notebook(folder / "first.ipynb", [first_program()])
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with running_lab(place, folder) as lab:
        yield lab


@pytest.fixture
def page() -> Iterator[Any]:
    with chromium_page() as page:
        yield page


def phase(page: Any, number: int, text: str) -> None:
    cell(page, number).locator(".edl-view .edl-phase", has_text=text).wait_for()


def run(page: Any, number: int, count: int) -> None:
    press_run(page, number)
    cell(page, number).get_by_text(f"[{count}]:").first.wait_for()


def moves(page: Any, number: int) -> None:
    """Wait until the figures of the live view change."""
    first = cell(page, number).locator(".edl-view .edl-stats").inner_text()
    page.wait_for_function(
        "([first, number]) => document.querySelectorAll('.jp-CodeCell')[number]"
        ".querySelector('.edl-view .edl-stats').innerText !== first",
        arg=[first, number],
    )


def press(page: Any, number: int, name: str) -> None:
    cell(page, number).get_by_role("button", name=name, exact=True).click()


def picture(page: Any, number: int, name: str) -> None:
    """Keep a screenshot of a cell's view."""
    cell(page, number).locator(".edl-view, .jp-OutputArea").first.screenshot(path=SCREENSHOTS / f"{name}.png")


def has_room(page: Any, number: int) -> None:
    """Wait until JupyterLab has closed its panels, and the view is not squeezed any more."""
    page.wait_for_function(
        """(number) => document.querySelectorAll('.jp-CodeCell')[number].querySelector('.edl-view')
            .getBoundingClientRect().width > 200""",
        arg=number,
    )


def too_wide(page: Any, number: int) -> list[str]:
    """Whatever sticks out of the view on the right, except in what scrolls by itself."""
    return page.evaluate(
        """(number) => {
            const view = document.querySelectorAll('.jp-CodeCell')[number].querySelector('.edl-view');
            const edge = view.getBoundingClientRect().right + 1;
            return [...view.querySelectorAll('*')].filter((one) => one.getBoundingClientRect().right > edge
                && one.getBoundingClientRect().width && !one.closest('.edl-scroll, .edl-tail, svg, .edl-spoken'))
                .map((one) => one.className + ': ' + one.textContent.slice(0, 40));
        }""",
        number,
    )


def contrast(page: Any, number: int) -> float:
    """The lowest contrast between a text of the view and the page behind it."""
    return page.evaluate(
        """(number) => {
            const light = (colour) => {
                const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
                    .map((part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const view = document.querySelectorAll('.jp-CodeCell')[number].querySelector('.edl-view');
            let behind = view, paper = 'rgba(0, 0, 0, 0)';
            while (behind && (paper = getComputedStyle(behind).backgroundColor) === 'rgba(0, 0, 0, 0)')
                behind = behind.parentElement;
            const texts = [...view.querySelectorAll('.edl *')].filter((one) => one.checkVisibility() && !one.disabled
                && [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())
                && one.tagName !== 'OPTION' && one.tagName !== 'STYLE');
            const ratios = texts.map((one) => {
                const style = getComputedStyle(one), ink = light(one.closest('svg') ? style.fill : style.color);
                const [low, high] = [ink, light(paper)].sort((a, b) => a - b);
                return (high + 0.05) / (low + 0.05);
            });
            return Math.min(...ratios);
        }""",
        number,
    )


def wait_until_gone(processes: list[Process]) -> None:
    deadline = time.monotonic() + 60
    while any(process.is_alive() for process in processes):
        assert time.monotonic() < deadline, "the job has left processes behind"
        time.sleep(0.1)


def kernel_of(lab: Lab, notebook: str) -> str:
    sessions = json.loads(lab.ask("sessions"))
    return next(one["kernel"]["id"] for one in sessions if one["path"] == notebook)


def saved(lab: Lab, page: Any, notebook: str, number: int, word: str) -> str:
    """Save the notebook, again and again, until the HTML of a cell's output has the word; return that."""
    deadline = time.monotonic() + 120
    html = ""
    while time.monotonic() < deadline:
        page.keyboard.press("Control+s")
        page.wait_for_timeout(500)
        try:
            outputs = nbformat.read(lab.folder / notebook, 4).cells[number].outputs
            html = "".join(one.data["text/html"] for one in outputs if one.output_type == "display_data")
        except (OSError, nbformat.reader.NotJSONError):  # the file is replaced while we read
            html = ""
        if word in html:
            return html
    raise AssertionError(f"the notebook was not saved with {word!r}, but with {html[:2000]}")


def test_a_live_job_is_watched_scaled_reloaded_and_stopped(lab, page):
    open_notebook(page, lab.url("live.ipynb"))
    run(page, 0, 1)

    # The view appears and moves, while the kernel goes on answering.
    press_run(page, 1)
    press_run(page, 2)
    cell(page, 2).get_by_text("42 is the answer").wait_for()
    phase(page, 1, "Running")
    moves(page, 1)
    assert cell(page, 1).get_by_role("link", name="dashboard").get_attribute("href").startswith("http://127.0.0.1:")

    # So does the handle, displayed; and a long note beside the buttons takes one line.
    press_run(page, 5)
    phase(page, 5, "Running")
    moves(page, 5)
    # A screen reader finds its way: what is drawn has words, and what is pressed has a name.
    view = cell(page, 1).locator(".edl-view")
    for role, name in (("toolbar", "Job live"), ("group", "Number of workers"), ("progressbar", "progress")):
        assert view.get_by_role(role, name=name).count() == 1
    assert view.locator("[role=status]", has_text="live: Running").count() == 1
    height = page.evaluate(
        """() => {
            const note = document.querySelector('.edl-view .edl-row .edl-note');
            note.textContent = 'A sentence about why something was not possible, of a usual length.';
            const height = note.getBoundingClientRect().height;
            note.textContent = '';
            return height;
        }"""
    )
    assert 10 < height < 30

    # One worker more, one fewer, while a cell keeps the kernel busy: the job itself says so.
    press_run(page, 4)
    page.get_by_text("| Busy").first.wait_for()
    press(page, 1, "One worker more")
    cell(page, 1).locator(".edl-view .edl-log").get_by_text("with 2 worker(s) instead of 1").wait_for()
    press(page, 1, "One worker fewer")
    cell(page, 1).locator(".edl-view .edl-log").get_by_text("with 1 worker(s) instead of 2").wait_for()

    # A flood of log lines reaches the page as its last hundred, and the page goes on to answer.
    press(page, 1, "Logs")
    tail = cell(page, 1).locator(".edl-view .edl-tail")
    tail.get_by_text("line 1999 of a flood").first.wait_for()
    assert len(tail.inner_text()) < 10_000
    picture(page, 1, "logs")
    press(page, 1, "Logs")
    lab.ask(f"kernels/{kernel_of(lab, 'live.ipynb')}/interrupt", "POST")
    cell(page, 4).get_by_text("KeyboardInterrupt").first.wait_for()

    # What is saved meanwhile is a picture, which says how old it is, and how to see the job.
    page.wait_for_function("() => document.querySelectorAll('.edl-view .edl-chart').length > 0")
    cell(page, 1).locator(".edl-view .edl-chart").hover()
    page.locator(".edl-tip").get_by_text("step ").wait_for()
    board = page.context.new_page()
    board.goto(cell(page, 1).get_by_role("link", name="dashboard").get_attribute("href"))
    board.locator(".edl-chart").hover()
    board.locator(".edl-tip").get_by_text("step ").wait_for()
    board.close()
    toggle = cell(page, 1).get_by_role("button", name="Log scale")
    press_it = "(one) => { const before = one.getAttribute('aria-pressed'); one.click(); return before === 'true'; }"
    after = "false" if toggle.evaluate(press_it) else "true"
    cell(page, 1).locator(f".edl-view button[aria-pressed={after}]").wait_for()
    press(page, 1, "Stop")
    cell(page, 1).get_by_text("Another job can go on from its checkpoint of step").wait_for()
    picture(page, 1, "light")
    assert contrast(page, 1) >= 4.5
    press(page, 1, "Let it run")
    html = saved(lab, page, "live.ipynb", 1, "<img")
    assert "Running" in html and "As of " in html and "%elasticdl_attach live" in html and len(html) < 60_000
    assert "127.0.0.1" not in html  # the address of the dashboard is a secret
    shutil.copy(lab.folder / "live.ipynb", lab.folder / "kept.ipynb")

    # A page that is loaded again, in the dark, and a second one, on a telephone, follow the job again.
    lab.use_theme("JupyterLab Dark")
    page.reload()
    phase(page, 1, "Running")
    moves(page, 1)
    cell(page, 1).locator(".edl-view .edl-chart").first.wait_for()
    page.locator("body[data-jp-theme-light=false]").wait_for(state="attached")
    picture(page, 1, "dark")
    assert contrast(page, 1) >= 4.5
    other = page.context.new_page()
    other.set_viewport_size({"width": 380, "height": 1600})
    other.goto(lab.narrow_url("live.ipynb"))
    phase(other, 1, "Running")
    cell(other, 1).locator(".edl-view .edl-chart").first.wait_for()
    moves(other, 1)
    has_room(other, 1)
    picture(other, 1, "narrow")
    assert too_wide(other, 1) == []

    # So do they when the kernel starts anew, and when it has ended.
    kernel = kernel_of(lab, "live.ipynb")
    lab.ask(f"kernels/{kernel}/restart", "POST")
    moves(page, 1)
    for one in json.loads(lab.ask("kernels")):
        lab.ask(f"kernels/{one['id']}", "DELETE")
    moves(page, 1)

    # Stop asks, and ends the job; every page shows that.
    job = JobFolder(lab.home / "jobs" / "live")
    living = processes(job)
    assert {"supervisor", "master", "worker-0", "ps-0"} <= living.keys()
    press(page, 1, "Stop")
    press(page, 1, "Stop the job")
    for one in (page, other):
        phase(one, 1, "Cancelled")
    assert cell(page, 1).locator(".edl-view button:visible").count() == 0
    picture(page, 1, "cancelled")
    wait_until_gone(list(living.values()))
    # Though no kernel has told this page, loaded again since, how the job ended, that is what is saved.
    assert "<script" not in saved(lab, page, "live.ipynb", 1, "Cancelled")

    # Where nobody knows the job, the saved picture is shown: in JupyterLab, and in an exported page.
    job.path.rename(job.path.with_name("elsewhere"))
    page.goto("about:blank")
    page.goto(lab.url("kept.ipynb", workspace="other"))
    cell(page, 1).get_by_text("%elasticdl_attach live").wait_for()
    cell(page, 1).locator("img").first.wait_for()
    picture(page, 1, "saved")
    exported = lab.folder / "kept.html"
    exported.write_text(nbconvert.HTMLExporter().from_filename(str(lab.folder / "kept.ipynb"))[0])
    page.goto(exported.as_uri())
    page.locator("code", has_text="%elasticdl_attach live").first.wait_for()
    assert page.get_by_text("Running").first.is_visible() and page.locator("img:visible").count() > 0


def test_interrupts_restarts_and_a_closed_browser_leave_the_job_alone(lab, page):
    lab.use_theme("JupyterLab Light")
    open_notebook(page, lab.url("left.ipynb", workspace="left"))
    run(page, 0, 1)
    run(page, 1, 2)
    phase(page, 1, "Running")
    job = JobFolder(lab.home / "jobs" / "left")
    kernel = kernel_of(lab, "left.ipynb")

    # An interrupt ends the waiting of a cell, not the job.
    press_run(page, 4)
    page.get_by_text("| Busy").first.wait_for()
    lab.ask(f"kernels/{kernel}/interrupt", "POST")
    cell(page, 4).get_by_text("To end it: elasticdl cancel").first.wait_for()
    cell(page, 4).get_by_text("KeyboardInterrupt").first.wait_for()
    assert job.is_alive()

    # A new kernel knows nothing, and is shown the whole picture by the job's name; nor does the job need a browser.
    before = job.master_pid()
    page.goto("about:blank")
    lab.ask(f"kernels/{kernel}/restart", "POST")
    open_notebook(page, lab.url("left.ipynb", workspace="left"))
    run(page, 0, 1)
    run(page, 3, 2)
    phase(page, 3, "Running")
    cell(page, 3).locator(".edl-view .edl-log").get_by_text("train job started").wait_for()
    cell(page, 3).locator(".edl-view .edl-chart").first.wait_for()
    assert job.master_pid() == before

    # A second interrupt, at once, ends the job; the saved notebook has its final picture, without a script.
    living = processes(job)
    for _ in range(5):  # "at once" means two seconds, which a busy machine may miss
        press_run(page, 4)
        page.get_by_text("| Busy").first.wait_for()
        lab.ask(f"kernels/{kernel}/interrupt", "POST")
        cell(page, 4).get_by_text("Interrupting again").first.wait_for()
        lab.ask(f"kernels/{kernel}/interrupt", "POST")
        cell(page, 4).get_by_text("KeyboardInterrupt").first.wait_for()
        if cell(page, 4).get_by_text("is being cancelled").count():
            break
    cell(page, 3).get_by_text("Cancelled").first.wait_for()
    wait_until_gone(list(living.values()))
    cell(page, 3).locator(".edl-view").first.wait_for(state="detached")
    html = saved(lab, page, "left.ipynb", 3, "Cancelled")
    assert len(html) < 100_000 and "<script" not in html


def test_the_first_program_of_the_readme_shows_two_jobs_and_their_results(lab, page):
    lab.use_theme("JupyterLab Light")
    open_notebook(page, lab.url("first.ipynb", workspace="first"))
    press_run(page, 0)
    cell(page, 0).locator(".edl-view .edl-phase").first.wait_for()
    shown = cell(page, 0).locator(".jp-OutputArea")
    shown.get_by_text("probability").first.wait_for()
    for number in (0, 1):
        shown.get_by_text("Succeeded").nth(number).wait_for()
    html = saved(lab, page, "first.ipynb", 0, "Succeeded")
    assert html.count("Succeeded") == 2 and "<script" not in html
    cell(page, 0).locator(".jp-OutputArea").first.screenshot(path=SCREENSHOTS / "first.png")
