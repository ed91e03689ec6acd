"""`elasticdl data convert`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from elasticdl_nb.cli.arguments import Parser, UsageError
from elasticdl_nb.cli.output import say, say_json, tell
from elasticdl_nb.runtime.control.status import format_count, format_duration
from elasticdl_nb.runtime.errors import OptionError, did_you_mean
from elasticdl_nb.runtime.spec import literals


def run_data(arguments: Sequence[str]) -> int:
    """Run `elasticdl data COMMAND …`."""
    if not arguments or arguments[0] in ("-h", "--help"):
        say("usage: elasticdl data convert SOURCE OUTPUT [options]\n\nSee: elasticdl data convert --help")
        return 0
    if arguments[0] != "convert":
        raise UsageError(f"no such command: data {arguments[0]}.{did_you_mean(arguments[0], ['convert'])}")
    try:
        return _convert(arguments[1:])
    except OptionError as error:
        # These two are not options here.
        raise UsageError(str(error)) if error.option in ("source", "output") else error from None


def _convert_parser() -> Parser:
    parser = Parser(
        prog="elasticdl data convert",
        usage="elasticdl data convert SOURCE [SOURCE …] OUTPUT [options]",
        description="Convert data between RecordIO, TFRecord, CSV, Parquet and Arrow, or turn files of any kind "
        "into records with a model's prepare_data_for_a_single_file.",
    )
    add = parser.add_argument
    add("source", metavar="SOURCE", nargs="+", help="Paths, globs, URLs; with --prepare, files or a directory.")
    add("output", metavar="OUTPUT", help="A file, or a directory for several files.")
    add("--to", metavar="FORM", default="", help="Format of the output, if its name does not say.")
    add("--prepare", metavar="NAME", help="Function (filename) that returns one file's record or records.")
    add("--model_zoo", metavar="DIR", default="", help="Where to find --prepare.")
    add("--records_per_file", metavar="N", type=int, default=0, help="Start a new file after this many records.")
    add("--num_files", metavar="N", type=int, default=0, help="Write this many files.")
    add("--num_processes", metavar="N", type=int, default=0, help="Number of processes; by default one per core.")
    add("--data_reader_params", metavar="ARGS", default="", help="How to read the source; see docs/data.md.")
    add("--overwrite", action="store_true", help="Replace an existing output.")
    add("--json", action="store_true", help="End stdout with one line of JSON.")
    add("--quiet", action="store_true", help="Do not show progress.")
    return parser


def _convert(arguments: Sequence[str]) -> int:
    parsed = _convert_parser().parse(arguments)
    try:
        reader_params = literals.parse_arguments(parsed.data_reader_params)
    except ValueError as error:
        raise OptionError("data_reader_params", str(error)) from None
    from elasticdl_nb.runtime.data.convert import convert

    with _progress_for(parsed.quiet) as show:
        result = convert(
            parsed.source,
            parsed.output,
            to=parsed.to,
            prepare=parsed.prepare,
            zoo=parsed.model_zoo,
            records_per_file=parsed.records_per_file,
            num_files=parsed.num_files,
            num_processes=parsed.num_processes,
            data_reader_params=reader_params,
            overwrite=parsed.overwrite,
            progress=show,
        )
    if parsed.json:
        say_json({"records": result.records, "files": result.files, "seconds": round(result.seconds, 3)})
    else:
        count = len(result.files)
        where = result.files[0] if count == 1 else f"{count} files in {parsed.output}"
        say(f"{result.records:,} records in {format_duration(result.seconds)}: {where}")
    return 0


@contextmanager
def _progress_for(quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Yield a function that shows the progress: a bar on a terminal, else a line for every tenth."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task("Converting", total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
    else:
        shown = 0

        def show(done: int, total: int) -> None:
            nonlocal shown
            tenths = 10 * done // max(total, 1)
            if tenths > shown:
                shown = tenths
                tell(f"{tenths * 10}%, {format_count(done)} of {format_count(total)}")

        yield show
