"""What `mkdocs build` needs to know: pages made from the code, and links to files that are outside of docs/.

The reference of options and magics is made from their declarations. Documents at the top of the repository become pages
too. A link to any other file of the repository becomes plain text, because the site has no address for it.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from elasticdl_nb.magics import commands, sqlline
from elasticdl_nb.magics.options import JOB_OPTIONS, Own
from elasticdl_nb.runtime.spec import KINDS, JobKind, Option, options

ROOT = Path(__file__).parents[1]
# Documents outside of docs/, and their pages.
OUTSIDE = {
    "CHANGELOG.md": "repository/CHANGELOG.md",
    "CONTRIBUTING.md": "repository/CONTRIBUTING.md",
    "SECURITY.md": "repository/SECURITY.md",
    "benchmarks/README.md": "repository/benchmarks.md",
    "model_zoo/README.md": "repository/model_zoo.md",
}
_FENCE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
_PYTHON = """# Python functions and classes

`train`, `evaluate` and `predict` take [options of jobs](options.md) by name, and return a `Job`.

::: elasticdl_nb.api.train
::: elasticdl_nb.api.evaluate
::: elasticdl_nb.api.predict
::: elasticdl_nb.api.load
::: elasticdl_nb.job.handle.attach
::: elasticdl_nb.job.listing.jobs
::: elasticdl_nb.job.handle.Job
::: elasticdl_nb.runtime.model.contract.batched
::: elasticdl_nb.runtime.mode.Mode
::: elasticdl_nb.chaos
::: elasticdl_nb.runtime.errors
"""


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made here."""
    made = {
        "reference/options.md": options_page(),
        "reference/magics.md": magics_page(),
        "reference/python.md": _PYTHON,
        **{page: (ROOT / document).read_text() for document, page in OUTSIDE.items()},
    }
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to other documents of the repository to their pages."""
    place = page.file.src_uri
    # The titles of questions are what people look for.
    page.meta["search"] = {"boost": 3 if place == "faq.md" else 2 if place.startswith("tutorials/") else 1}
    source = next((document for document, made in OUTSIDE.items() if made == place), f"docs/{place}")
    parts = _FENCE.split(markdown)
    return "".join(
        part if part.startswith("```") else _LINK.sub(lambda link: _lead(link[1], link[2], source, place), part)
        for part in parts
    )


def _lead(text: str, target: str, source: str, place: str) -> str:
    if re.match(r"\w+:|#", target):
        return f"[{text}]({target})"
    file, hash_, anchor = target.partition("#")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), file))
    if path == "README.md":
        page = "README.md"
        anchor = hash_ = ""
    elif path in OUTSIDE:
        page = OUTSIDE[path]
    elif path.startswith("docs/") and path.endswith((".md", ".png")):
        page = path.removeprefix("docs/")
    elif path in ("docs", "docs/decisions"):
        page = posixpath.join(path.removeprefix("docs").lstrip("/"), "README.md")
    else:
        return text
    return f"[{text}]({posixpath.relpath(page, posixpath.dirname(place) or '.')}{hash_}{anchor})"


# ------------------------------------------------------------ reference


def options_page() -> str:
    """Return the page of every job option, by group, from their declarations."""
    declared: dict[str, dict[str, Option]] = {}
    for kind in KINDS:
        for option in options(kind):
            declared.setdefault(option.group, {}).setdefault(option.name, option)
    parts = [
        "# Options of jobs\n",
        "The same names everywhere: as flags of `elasticdl train`, `evaluate` and `predict`, as arguments in Python, "
        "as options of the magics, and as `train.NAME` in SQL.\n",
    ]
    for group, found in declared.items():
        parts.append(f"\n## {group}\n\n| option | for | value | default | meaning |\n|---|---|---|---|---|\n")
        parts += [_row(option) for option in found.values()]
    return "".join(parts)


def _row(option: Option) -> str:
    also = sorted({name for kind in KINDS for name in option.aliases.get(kind, ())})
    form = " or ".join(f"`{choice}`" for choice in option.choices) or f"`{option.form}`"
    default = "required" if option.required else f"`{option.default}`" if option.default not in ("", (), {}) else ""
    meaning = option.help + (f" Also: {', '.join(f'`{name}`' for name in also)}." if also else "")
    return _cells(f"`{option.name}`", ", ".join(option.jobs), form, default, meaning)


def magics_page() -> str:
    """Return the page of every magic and its own options, from their declarations."""
    jobs: dict[JobKind, str] = {
        "train": "train the model that the cell defines, or that `--model_def` names",
        "evaluate": "evaluate a trained model",
        "predict": "predict with a trained model",
    }
    parts = [
        "# Magics\n\n`%load_ext elasticdl_nb` loads them. Values may refer to the notebook: `$name`, `$name.attribute` "
        "and `{expression}`.\n",
    ]
    for kind, what in jobs.items():
        parts.append(f"\n## `%%elasticdl_{kind}`\n\nTakes [options of jobs](options.md): {what}.\n\n")
        parts.append(_own(JOB_OPTIONS))
    others = (
        ("elasticdl_jobs", "List the jobs of this machine, the newest first.", commands.JOBS_OPTIONS),
        ("elasticdl_attach [NAME]", "Show a job, by default the latest, and bind its handle.", commands.ATTACH_OPTIONS),
        ("elasticdl_config", "Show and set default options for this notebook's jobs.", commands.CONFIG_OPTIONS),
        ("sqlflow", "Run SQL statements: see [SQL](../sql.md).", sqlline.OPTIONS),
    )
    for name, what, own in others:
        parts.append(f"\n## `%{name}`\n\n{what}\n\n{_own(own)}")
    return "".join(parts)


def _own(own: Iterable[Own]) -> str:
    rows = [_cells(f"`--{one.name}`", "" if one.form == "BOOL" else f"`{one.form}`", one.help) for one in own]
    return "| option | value | meaning |\n|---|---|---|\n" + "".join(rows)


def _cells(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace(os.linesep, " ") for cell in cells) + " |\n"
