"""`elasticdl jobs`, `cancel`, `stop`, `delete`, `scale`, `chaos` and `logs`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from elasticdl_nb.cli.arguments import Parser, add_cluster_options, add_job, the_job
from elasticdl_nb.cli.output import as_json, say, say_json, tell
from elasticdl_nb.cli.signals import Interrupted, interruptible
from elasticdl_nb.job import Job, attach
from elasticdl_nb.job.listing import jobs
from elasticdl_nb.runtime.control.status import is_over, phase_name

_LOG_POLL_SECONDS = 0.2


def run_jobs(arguments: Sequence[str]) -> int:
    """Run `elasticdl jobs`."""
    parser = Parser(prog="elasticdl jobs", description="List the jobs known on this machine, newest first.")
    add_cluster_options(parser)
    parser.add_argument("--json", action="store_true", help="Print a list as one line of JSON.")
    parser.add_argument("--running", action="store_true", help="Only jobs that have not ended.")
    parsed = parser.parse(arguments)
    known = jobs(kube_context=parsed.kube_context, namespace=parsed.namespace)
    found = [(job, status) for job in known for status in [job.status()] if not (parsed.running and is_over(status))]
    if parsed.json:
        say_json([as_json(job, status) for job, status in found])
    elif not found:
        say("no jobs yet" if not parsed.running else "no job is running")
    else:
        from rich.console import Console

        from elasticdl_nb.job.listing import table

        console = Console(highlight=False, width=None if os.isatty(1) else 160)
        with console.capture() as captured:
            console.print(table([status for _, status in found]))
        say(captured.get().strip("\n"))
    return 0


def run_cancel(arguments: Sequence[str]) -> int:
    """Run `elasticdl cancel NAME`: return once the job's processes are gone."""
    parser = Parser(prog="elasticdl cancel", description="End a job, and return once its processes are gone.")
    add_job(parser)
    job = the_job(parser.parse(arguments))
    status = job.status()
    if is_over(status):
        tell(f"Job {job.name} has already ended: {phase_name(status)}.")
        return 0
    with interruptible():
        job.cancel("elasticdl cancel")
    say(f"Job {job.name}: {phase_name(job.status())}.")
    return 0


def run_stop(arguments: Sequence[str]) -> int:
    """Run `elasticdl stop NAME`: return once the trained model is written."""
    parser = Parser(
        prog="elasticdl stop",
        description="End a training that follows its data (--follow): it trains on the files that are there by now, "
        "and writes its model. Return once that is done.",
    )
    add_job(parser)
    job = the_job(parser.parse(arguments)).stop()
    with interruptible():
        job.wait()
    say(f"Job {job.name}: {phase_name(job.status())}.")
    return 0


def run_delete(arguments: Sequence[str]) -> int:
    """Run `elasticdl delete NAME`."""
    parser = Parser(
        prog="elasticdl delete",
        description="Remove a job: end it if it is running, and delete its folder and its objects on the cluster.",
    )
    add_job(parser)
    job = the_job(parser.parse(arguments))
    with interruptible():
        job.delete()
    say(f"Deleted job {job.name}.")
    return 0


def run_scale(arguments: Sequence[str]) -> int:
    """Run `elasticdl scale NAME --workers=N`."""
    parser = Parser(prog="elasticdl scale", description="Change a running job's number of workers.")
    add_job(parser)
    parser.add_argument("--workers", metavar="N", type=int, required=True, help="The new number of workers.")
    parsed = parser.parse(arguments)
    job = the_job(parsed).scale(parsed.workers)
    say(f"Job {job.name} continues with {parsed.workers} worker(s).")
    return 0


def run_chaos(arguments: Sequence[str]) -> int:
    """Run `elasticdl chaos NAME`, follow the job to its end, and print a report."""
    from elasticdl_nb import chaos

    parser = Parser(
        prog="elasticdl chaos",
        description=(
            "Kill or stop a job's processes, or cut or delay their connections, on a schedule or at random, to see it "
            "recover. On a cluster, pods are deleted. At the job's end, or when interrupted, print what each blow cost "
            "and how often records were used."
        ),
    )
    parser.add_argument("name", metavar="NAME")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--schedule", metavar="EVENTS", help='Such as "10s kill worker-0; 20s scale 4; 30s stop ps for 5s".'
    )
    what.add_argument("--poisson", metavar="SECONDS", type=float, help="Random blows, this far apart on average.")
    parser.add_argument("--kills", metavar="N", type=int, default=0, help="With --poisson: how many; 0 for no limit.")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="With --poisson: the random seed.")
    parser.add_argument("--roles", metavar="ROLES", default="worker,ps,master", help="With --poisson: what to hit.")
    parser.add_argument(
        "--acts", metavar="ACTS", default="kill", help="With --poisson: what to do, of kill, stop, cut and delay."
    )
    parsed = parser.parse(arguments)
    job = attach(parsed.name)
    if parsed.schedule is not None:
        events: Iterable[chaos.Event] = chaos.parse_schedule(parsed.schedule)
    else:
        roles, acts = ([one.strip() for one in given.split(",")] for given in (parsed.roles, parsed.acts))
        events = chaos.poisson(parsed.poisson, kills=parsed.kills, seed=parsed.seed, roles=roles, acts=acts)
    report = chaos.trial(job, events, tell)
    say("\n".join(report.lines()))
    return 0 if report.is_exact else 1 if report.has_ended else 130


def run_logs(arguments: Sequence[str]) -> int:
    """Run `elasticdl logs NAME`."""
    parser = Parser(prog="elasticdl logs", description="Print the logs of a job's processes.")
    add_job(parser)
    parser.add_argument("--role", metavar="ROLE", help="Only processes of this role: master, worker or ps.")
    parser.add_argument("--index", metavar="N", type=int, help="Only the process with this number.")
    parser.add_argument("--tail", metavar="N", type=int, help="Only the last lines of each log.")
    parser.add_argument("-f", "--follow", action="store_true", help="Keep printing new lines until the job has ended.")
    parsed = parser.parse(arguments)
    role = parsed.role or ("worker" if parsed.index is not None else None)
    job = the_job(parsed)
    with interruptible():
        try:
            sizes = {path: path.stat().st_size for path in job.log_paths(role, parsed.index)}
            say(job.logs(role, parsed.index, parsed.tail).rstrip("\n"))
            if parsed.follow:
                _follow(job, role, parsed.index, sizes)
        except Interrupted as interrupt:
            return interrupt.exit_code
    return 0


def _follow(job: Job, role: str | None, index: int | None, sizes: dict[Path, int]) -> None:
    """Print whole lines as they are added to the logs, each prefixed with its log's name if there are several logs."""
    alive = True
    while alive:
        # Checked first, so that lines written just before the end are printed, too.
        alive = job.folder.is_alive()
        paths = job.log_paths(role, index)
        for path in paths:
            with open(path, "rb") as file:
                if file.seek(0, os.SEEK_END) < sizes.get(path, 0):  # its beginning was dropped, because it was too long
                    sizes[path] = file.tell()
                file.seek(sizes.get(path, 0))
                added = file.read()
            complete = added[: added.rfind(b"\n") + 1] if alive else added
            sizes[path] = sizes.get(path, 0) + len(complete)
            for line in complete.decode(errors="replace").splitlines():
                say(line if len(paths) == 1 else f"{path.stem}: {line}")
        if alive:
            time.sleep(_LOG_POLL_SECONDS)
