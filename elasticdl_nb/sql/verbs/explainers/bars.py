"""Importances as a picture: a bar for each column."""

from __future__ import annotations

from collections.abc import Sequence


def bars(names: Sequence[str], values: Sequence[float], title: str) -> str:
    """Return a bar for each value as an SVG picture, the names on the left."""
    from xml.sax.saxutils import escape

    shown = list(zip(names, values, strict=True))[:30]
    left = 20 + 7 * max(len(name[:40]) for name, _ in shown)
    width, height = left + 420, 40 + 22 * len(shown)
    largest = max((abs(value) for _, value in shown), default=0.0) or 1.0
    parts = [f'<text x="10" y="20" font-weight="bold">{escape(title)}</text>']
    for place, (name, value) in enumerate(shown):
        top = 32 + 22 * place
        length = 320 * abs(value) / largest
        colour = "#3b78c2" if value >= 0 else "#b0b0b0"
        label = name if len(name) <= 40 else f"{name[:39]}…"
        parts.append(f'<text x="{left - 8}" y="{top + 13}" text-anchor="end">{escape(label)}</text>')
        parts.append(f'<rect x="{left}" y="{top + 2}" width="{length:.1f}" height="14" fill="{colour}"/>')
        parts.append(f'<text x="{left + length + 6:.1f}" y="{top + 13}">{value:.4g}</text>')
    paper = '<rect width="100%" height="100%" rx="4" fill="#fff"/>'  # legible on a dark page, too
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="12" fill="#1c2128">{paper}{"".join(parts)}</svg>'
    )
