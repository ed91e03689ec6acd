"""The look: style sheets for live pages, for pictures inside `<img>`, and for the dashboard's page.

Colours follow JupyterLab's theme where there is one, else the reader's light or dark preference. Every rule is tied to
an `edl-` class, so that nothing leaks into the notebook.
"""

from __future__ import annotations

_LIGHT = {
    "ink": "var(--jp-ui-font-color1,#1c2128)",
    "muted": "var(--jp-ui-font-color2,#626a73)",
    "paper": "var(--jp-layout-color0,#fff)",
    "busy": "var(--jp-brand-color1,#1f6feb)",
    "good": "var(--jp-success-color1,#1a7f37)",
    "warn": "var(--jp-warn-color1,#b35900)",
    "bad": "var(--jp-error-color1,#cf222e)",
    "second": "#c4660a",
}
_DARK = {
    "ink": "var(--jp-ui-font-color1,#e6e9ed)",
    "muted": "var(--jp-ui-font-color2,#9aa4af)",
    "paper": "var(--jp-layout-color0,#14171c)",
    "busy": "var(--jp-brand-color1,#6cb0ff)",
    "good": "var(--jp-success-color1,#4cc38a)",
    "warn": "var(--jp-warn-color1,#f0a35e)",
    "bad": "var(--jp-error-color1,#ff7b72)",
    "second": "#f0a35e",
}


def _variables(colours: dict[str, str]) -> str:
    return ".edl{" + ";".join(f"--edl-{name}:{value}" for name, value in colours.items()) + "}"


# Curves: shared by the live form and, with fixed colours, by pictures.
_CURVES = """
.edl-chart,.edl-spark{display:block;box-sizing:border-box;overflow:visible;max-width:none}
.edl-chart{padding:0 5px 0 46px}
.edl-spark{padding:0 5px}
.edl-chart text{fill:var(--edl-muted);font-size:11px;font-variant-numeric:tabular-nums}
.edl-spark text{fill:var(--edl-muted);font-size:11px}
.edl-grid{stroke:var(--edl-rule);stroke-width:1;shape-rendering:crispEdges}
.edl-line,.edl-raw{fill:none;stroke:var(--edl-busy);stroke-width:1.75;stroke-linejoin:round;stroke-linecap:round}
.edl-raw{stroke-width:1;opacity:.38}
.edl-line-1{stroke-dasharray:7 4}
.edl-line.edl-line-1,.edl-raw.edl-line-1{stroke:var(--edl-second)}.edl-dot.edl-line-1{fill:var(--edl-second)}
.edl-sign line{stroke:var(--edl-muted);stroke-width:1;stroke-dasharray:1 3}
.edl-sign text{font-size:12px}
.edl-dot{fill:var(--edl-busy);stroke:var(--edl-paper);stroke-width:1.5}
"""

# Curves beyond the second, in comparisons.
_COMPARED = """
.edl-line.edl-line-2{stroke:#2f9e62;stroke-dasharray:2 4}.edl-dot.edl-line-2{fill:#2f9e62}
.edl-line.edl-line-3{stroke:#b05fce;stroke-dasharray:9 3 2 3}.edl-dot.edl-line-3{fill:#b05fce}
.edl-line.edl-line-4{stroke:#c9485b;stroke-dasharray:14 4}.edl-dot.edl-line-4{fill:#c9485b}
.edl-line.edl-line-5{stroke:#7d8590;stroke-dasharray:4 4}.edl-dot.edl-line-5{fill:#7d8590}
"""

_VIEW = """
.edl{--edl-rule:rgba(128,138,150,.26);--edl-mono:var(--jp-code-font-family,ui-monospace,Menlo,Consolas,monospace);
container-type:inline-size;box-sizing:border-box;max-width:960px;color:var(--edl-ink);
font:13px/1.45 var(--jp-ui-font-family,system-ui,-apple-system,"Segoe UI",Roboto,sans-serif);text-align:left}
.edl-flat{container-type:normal}
.edl-head{display:flex;flex-wrap:wrap;align-items:baseline;gap:2px 12px}
.edl-name{font-size:16px;font-weight:600;letter-spacing:-.01em;overflow-wrap:anywhere}
.edl-about,.edl-note,.edl-detail{color:var(--edl-muted)}
.edl-about{flex:1 1 auto}
.edl.edl .edl-about a{color:inherit;text-decoration:underline}
.edl-mark{white-space:nowrap}
.edl-mark i{font-style:normal;display:inline-block;width:1.35em}
.edl-busy>i{color:var(--edl-busy)}.edl-good>i{color:var(--edl-good)}
.edl-warn>i{color:var(--edl-warn)}.edl-bad>i{color:var(--edl-bad)}.edl-idle>i{color:var(--edl-muted)}
.edl-phase{font-weight:600}
.edl-bar{display:block;margin:9px 0 5px;border-radius:3px;overflow:hidden}
.edl-track{fill:var(--edl-rule)}
.edl-fill{fill:var(--edl-busy)}.edl-fill-good{fill:var(--edl-good)}
.edl-fill-bad{fill:var(--edl-bad)}.edl-fill-idle{fill:var(--edl-muted)}
.edl-under{display:flex;gap:12px;min-height:1.45em;font-variant-numeric:tabular-nums}
.edl-under b{font-weight:600}
.edl-detail{flex:1;overflow-wrap:anywhere}
.edl-stats{display:grid;grid-template-columns:repeat(auto-fit,minmax(94px,1fr));gap:10px 16px;margin:12px 0 0;padding:0}
.edl-stats div{min-width:0}
.edl-stats span{display:block;color:var(--edl-muted);font-size:12px}
.edl-stats b{display:block;font-size:16px;font-weight:600;font-variant-numeric:tabular-nums;line-height:1.3}
.edl-stats small,.edl-metric small{font-size:12px;font-weight:400;color:var(--edl-muted);white-space:nowrap}
.edl-h{font-weight:600;margin:20px 0 6px}
.edl-h b{font-variant-numeric:tabular-nums;margin-left:6px}
.edl-h .edl-note{font-weight:400;margin-left:8px}
.edl-metrics{display:grid;grid-template-columns:repeat(auto-fill,minmax(128px,1fr));gap:12px 16px}
.edl-metric{min-width:0}
.edl-metric span{display:block;color:var(--edl-muted);font-size:12px;overflow:hidden;text-overflow:ellipsis;
white-space:nowrap}
.edl-metric b{display:block;font-size:16px;line-height:1.3;font-weight:600;font-variant-numeric:tabular-nums}
.edl-metric small{display:block;line-height:1.3}
.edl-scroll{overflow-x:auto}
.edl.edl table{border-collapse:collapse;width:100%;margin:0;font-size:13px;font-variant-numeric:tabular-nums;border:0;
table-layout:auto}
.edl.edl thead{border:0}
.edl.edl tr:nth-child(n),.edl.edl tbody tr:nth-child(n){background:none}
.edl.edl th,.edl.edl td{padding:4px 0 4px 14px;text-align:right;border:0;border-bottom:1px solid var(--edl-rule);
white-space:nowrap;font-weight:400;vertical-align:baseline;max-width:none;line-height:inherit}
.edl.edl thead th{color:var(--edl-muted);font-size:12px}
.edl.edl th:first-child,.edl.edl td:first-child{padding-left:0}
.edl.edl tr>:nth-child(-n+3){text-align:left}
.edl.edl .edl-speed{width:64px;height:5px;margin-right:8px;border-radius:2px;vertical-align:2px;overflow:hidden}
.edl-more{color:var(--edl-muted);margin:5px 0 0}
.edl-log>div{display:grid;grid-template-columns:4.2em 6.2em 1fr;gap:0 10px;padding:2px 0}
.edl-log>div>span{color:var(--edl-muted);font-variant-numeric:tabular-nums;overflow:hidden;text-overflow:ellipsis}
.edl-log>div>div{overflow-wrap:anywhere}
.edl-failure{border-left:3px solid var(--edl-bad);padding:2px 0 2px 12px;margin:18px 0 0}
.edl-reason{white-space:pre-wrap;overflow-wrap:anywhere}
.edl-failure summary{cursor:pointer;color:var(--edl-muted);margin-top:6px}
.edl.edl pre{font:12px/1.5 var(--edl-mono);margin:6px 0 0;padding:0;overflow:auto;max-height:320px;background:none;
color:inherit;white-space:pre}
.edl-tail{display:flex;flex-direction:column-reverse;overflow:auto;max-height:320px;padding:6px 0}
.edl.edl .edl-tail pre{overflow:visible;max-height:none;margin:0}
.edl-outputs{font:12px/1.6 var(--edl-mono);overflow-wrap:anywhere}
.edl-controls{margin:10px 0 0}
.edl-row,.edl-asking{display:flex;flex-wrap:wrap;align-items:center;gap:6px 8px}
.edl-asking{margin-top:8px}
.edl-scaling{display:inline-flex;align-items:center;gap:6px;font-variant-numeric:tabular-nums}
.edl-button{font:inherit;color:var(--edl-ink);background:transparent;border:1px solid var(--edl-rule);border-radius:4px;
padding:2px 10px;min-height:26px;cursor:pointer}
.edl-button[aria-pressed=true],.edl-button[aria-expanded=true]{border-color:var(--edl-busy);
box-shadow:inset 0 0 0 1px var(--edl-busy)}
.edl-button:hover{border-color:var(--edl-muted)}
.edl-button:focus-visible{outline:2px solid var(--edl-busy);outline-offset:1px}
.edl-button:disabled{opacity:.5;cursor:not-allowed}
.edl-button option{color:#1c2128;background:#fff}
.edl-row .edl-note,.edl-question{flex:1 1 auto;overflow-wrap:anywhere}
.edl-question{flex:0 1 auto}
.edl-controls [hidden]{display:none}
.edl.edl .edl-key{width:22px;height:8px;margin:0 5px 0 0;overflow:visible}
.edl-tip{pointer-events:none}
.edl-chart .edl-tip text{fill:var(--edl-ink);font-weight:600;
paint-order:stroke;stroke:var(--edl-paper);stroke-width:4px}
.edl-tip circle{fill:none;stroke:var(--edl-ink);stroke-width:1.5}
.edl-spoken{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
@container (max-width:520px){.edl.edl tr>:nth-child(3),.edl.edl tr>:nth-child(5){display:none}
.edl.edl th,.edl.edl td{padding-left:10px}
.edl.edl .edl-speed{display:none}.edl-log>div{grid-template-columns:4.2em 1fr}.edl-log>div>div{grid-column:1/-1}}
"""


def _packed(css: str) -> str:
    return "".join(css.splitlines())


STYLE = _packed(
    _variables(_LIGHT) + f"@media(prefers-color-scheme:dark){{{_variables(_DARK)}}}" + _VIEW + _CURVES,
)
"""The style sheet of the live view."""

PAGE_STYLE = (
    STYLE
    + ":root{color-scheme:light dark}body{margin:0;padding:24px 16px 40px;background:#fff}"
    + "main{max-width:960px;margin:0 auto}"
    + "@media(prefers-color-scheme:dark){body{background:#14171c}}"
    + ".edl-gone{position:sticky;bottom:0;padding:6px 0;background:var(--edl-paper);color:var(--edl-muted)}"
)
"""The style sheet of the dashboard's page."""

# A picture does not know the page's theme, so these are legible on white and on black.
PICTURE_COLOURS = {
    "muted": "#7d8590",
    "rule": "rgba(128,138,150,.3)",
    "busy": "#3b82f6",
    "second": "#d9822b",
    "paper": "none",
}

FIGURE_STYLE = _packed(_COMPARED)
"""What a figure that compares jobs needs besides `PICTURE_STYLE`."""

PICTURE_STYLE = (
    "text{font-family:system-ui,-apple-system,Segoe UI,Roboto,sans-serif}"
    + "svg{display:block;"
    + ";".join(f"--edl-{name}:{value}" for name, value in PICTURE_COLOURS.items())
    + "}"
    + _packed(_CURVES)
)
"""The style sheet inside a picture of the static form."""
