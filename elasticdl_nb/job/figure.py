"""`Figure`: what `Job.plot` returns. How it is drawn is up to the layer that draws jobs."""

from __future__ import annotations

import os
from base64 import b64encode
from html import escape
from pathlib import Path


class Figure:
    """Curves of one or several jobs: a notebook shows the picture, a terminal the text.

    `svg` is the picture as an SVG document, and `text` says what it shows.
    """

    def __init__(self, svg: str, text: str, width: int, height: int) -> None:
        self.svg, self.text = svg, text
        self._width, self._height = width, height

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to a file, as SVG."""
        Path(path).write_text(self.svg)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Return the picture for a notebook, in a form that every viewer of notebooks shows."""
        data = b64encode(self.svg.encode()).decode()
        html = (
            f'<img alt="{escape(self.text)}" width="{self._width}" height="{self._height}" '
            f'style="max-width:100%" src="data:image/svg+xml;base64,{data}">'
        )
        return {"text/html": html, "text/plain": self.text}

    def __repr__(self) -> str:
        return self.text
