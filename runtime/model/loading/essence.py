"""What an error of Keras or TensorFlow says, without what they wrap around it; all of it stays in the traceback."""

from __future__ import annotations

import re

_LAYER = re.compile(r"Exception encountered when calling .*?\n\n(.*?)(?:\n\nArguments received by .*)?", re.DOTALL)
_GRAPH = "Graph execution error:"
_FRAME = re.compile(r'  File "(.*?)", line (\d+)')
_NODES = re.compile(
    r"\x1b\[[\d;]*m|\{\{function_node .*?\}\} |\[\[\{\{node .*?\}\}.*?\]\]| ?\[Op:\w+\]( name: ?\S*)?"
    r"|Error in user-defined function passed to \S+ transformation with iterator: \S+: "
)
_NODE = re.compile(r"'\{\{node ([^}]*)\}\} = [^']*'")
_AROUND = (_GRAPH, "Detected at node ", "  File ", "Stack trace for op definition")


def essence(text: str) -> str:
    """Return the part of an error's message that says what was wrong; all of it if nothing is known to be around it."""
    text = _NODE.sub(r"\1", _NODES.sub("", text)).strip()
    if layer := _LAYER.fullmatch(text):
        text = layer[1]
    if text.startswith(_GRAPH):
        text = "\n".join(line for line in text.splitlines() if line.strip() and not line.startswith(_AROUND))
    return text.strip()


def frames_in(text: str) -> list[tuple[str, int]]:
    """Return the files and lines that the message of an error in a graph names, the innermost last."""
    return [(file, int(line)) for file, line in _FRAME.findall(text)] if _GRAPH in text else []
