"""Making foreign text safe, and formats of the job view that `runtime.control.status` lacks. Pure; nothing raises."""

from __future__ import annotations

import math
import re
from html import escape as _escape

from elasticdl_nb.runtime.control.status import format_count

DASH = "–"

# What is not allowed in XML at all, and what would change the direction of the text that follows it.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")


def plain(text: str) -> str:
    """Return `text` without terminal escapes, control characters and direction marks."""
    if text.isascii() and text.isprintable():
        return text
    return _UNPRINTABLE.sub("", _ANSI.sub("", text))


def short(text: str, limit: int) -> str:
    """Return `text` on one line of at most `limit` characters, ending in an ellipsis if it is cut."""
    line = " ".join(plain(text[: 4 * limit]).split())
    return line if len(line) <= limit and len(text) <= 4 * limit else line[: limit - 1] + "…"


def middle_out(text: str, limit: int) -> str:
    """Return at most about `limit` characters of `text`: a quarter from its start, the rest from its end."""
    text = plain(text).strip("\n")
    if len(text) <= limit:
        return text
    head, tail = limit // 4, limit - limit // 4
    return f"{text[:head]}\n… {len(text) - limit:,} characters left out …\n{text[-tail:]}"


def safe(text: str) -> str:
    """Return `text` for use in HTML and XML, between tags or in a quoted attribute."""
    return _escape(plain(text), quote=True)


def rate(value: float) -> str:
    """Return a number per second, or a dash for none."""
    if not math.isfinite(value) or value <= 0:
        return DASH
    return f"{value:.1f}" if value < 10 else format_count(value)


def size(number: int) -> str:
    """Return a number of bytes, `1.4 MB`, or nothing for none."""
    if number <= 0:
        return ""
    value, unit = float(number), "B"
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{value:.1f} {unit}" if value < 9.95 and unit != "B" else f"{value:,.0f} {unit}"


def percent(fraction: float) -> str:
    """Return a fraction as a whole percentage; only 1 gives 100%."""
    if not math.isfinite(fraction):
        return DASH
    return "100%" if fraction >= 1 else f"{max(0, math.floor(fraction * 100))}%"


def clock(seconds: float) -> str:
    """Return an elapsed time, `0:07`, `12:34` or `1:02:03`."""
    if not math.isfinite(seconds) or seconds < 0:
        return DASH
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
