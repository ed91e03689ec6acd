"""`elasticdl zoo init`, `build` and `push`: model zoos and their images."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from elasticdl_nb.cli.arguments import Parser, UsageError
from elasticdl_nb.cli.output import say, say_json, tell
from elasticdl_nb.cli.signals import Interrupted, interruptible
from elasticdl_nb.runtime.errors import did_you_mean

_SUMMARIES = {
    "init": "Write the files of a new model zoo to a folder.",
    "build": "Build a Docker image with a model zoo, its requirements and elasticdl_nb in it.",
    "push": "Push an image, and print its name with its digest.",
}


def run_zoo(arguments: Sequence[str]) -> int:
    """Run `elasticdl zoo COMMAND …`."""
    if not arguments or arguments[0] in ("-h", "--help"):
        listed = "\n".join(f"  {name:<8}{summary}" for name, summary in _SUMMARIES.items())
        say(f"usage: elasticdl zoo COMMAND [options]\n\ncommands:\n{listed}\n\nSee: elasticdl zoo COMMAND --help")
        return 0
    commands: dict[str, Callable[[Sequence[str]], int]] = {"init": _init, "build": _build, "push": _push}
    if arguments[0] not in commands:
        raise UsageError(f"no such command: zoo {arguments[0]}.{did_you_mean(arguments[0], commands)}")
    with interruptible():
        try:
            return commands[arguments[0]](arguments[1:])
        except Interrupted as interrupt:
            tell("interrupted")
            return interrupt.exit_code


def _init(arguments: Sequence[str]) -> int:
    from elasticdl_nb.skeleton import write_skeleton

    parser = Parser(prog="elasticdl zoo init", description=_SUMMARIES["init"])
    parser.add_argument("model_zoo", metavar="DIR", nargs="?", default=".", help="The folder (default: this one).")
    folder = Path(parser.parse(arguments).model_zoo)
    for path in write_skeleton(folder):
        say(str(path))
    return 0


def _build(arguments: Sequence[str]) -> int:
    from elasticdl_nb.given.zoosource import fetch_zoo
    from elasticdl_nb.images import build_image, push_image
    from elasticdl_nb.images.names import check_name
    from elasticdl_nb.images.recipe import DEFAULT_BASE_IMAGE
    from elasticdl_nb.images.showing import shown

    parser = Parser(prog="elasticdl zoo build", description=_SUMMARIES["build"])
    add = parser.add_argument
    add(
        "model_zoo",
        metavar="DIR|FILE|URL",
        nargs="?",
        default=".",
        help="A folder, a notebook file, or the URL of a Git repository.",
    )
    add("--image", metavar="NAME", default="", help="Its name, such as registry.example.com/me/zoo:1.")
    base = f"The base image: any with Python 3.11 or later and pip (default: {DEFAULT_BASE_IMAGE})."
    add("--docker_base_image", "--image_base", metavar="IMAGE", default="", help=base)
    add("--push", action="store_true", help="Also push it.")
    _add_output_options(parser)
    parsed = parser.parse(arguments)
    for option in ("image", "docker_base_image"):
        if name := getattr(parsed, option):
            check_name(option, name)
    if parsed.push and not parsed.image:
        raise UsageError("--push requires --image, which says where to push")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="elasticdl-zoo-") as folder, shown(not parsed.quiet):
        for note in fetch_zoo(parsed.model_zoo, Path(folder)).notes:
            tell(f"Note: {note}")
        image = build_image(Path(folder), parsed.image, parsed.docker_base_image)
        image = push_image(image) if parsed.push else image
    _say_image(image, parsed.json, started)
    return 0


def _push(arguments: Sequence[str]) -> int:
    from elasticdl_nb.images import push_image
    from elasticdl_nb.images.names import check_name
    from elasticdl_nb.images.showing import shown

    parser = Parser(prog="elasticdl zoo push", description=_SUMMARIES["push"])
    parser.add_argument("image", metavar="IMAGE", help="The name it was built with.")
    _add_output_options(parser)
    parsed = parser.parse(arguments)
    started = time.monotonic()
    with shown(not parsed.quiet):
        image = push_image(check_name("image", parsed.image))
    _say_image(image, parsed.json, started)
    return 0


def _add_output_options(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="End stdout with one line of JSON about the image.")
    parser.add_argument("--quiet", action="store_true", help="Show no progress, only the result.")


def _say_image(image: str, json: bool, started: float) -> None:
    if json:
        say_json({"image": image, "seconds": round(time.monotonic() - started, 3)})
    else:
        say(image)
