"""Cells that consist of a magic's line alone, such as `%%elasticdl_train --help`, which IPython refuses."""

from __future__ import annotations

import re

_MAGIC = re.compile(r"\s*%%(?:elasticdl_(?:train|evaluate|predict)|sqlflow)\b")


def as_line_magic(lines: list[str]) -> list[str]:
    """Return the line magic for such a cell, and any other cell as it is: for `input_transformers_cleanup`."""
    written = [line for line in lines if line.strip()]
    return [written[0].lstrip()[1:]] if len(written) == 1 and _MAGIC.match(written[0]) else lines
