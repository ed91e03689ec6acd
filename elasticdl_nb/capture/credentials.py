"""Constants that look like credentials must not be written into a packaged module."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

HARMLESS_CURE = ""
_CERTAIN = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|pwd|secret|secret_key|api_?key|access_key|private_key|client_secret"
    r"|(?:auth|access|api|bearer|refresh|session|hf|github|gitlab|aws|wandb)_token|credentials?)(?:_\w*)?$",
    re.IGNORECASE,
)
_HINT = re.compile("pass|pwd|secret|key|token|credential", re.IGNORECASE)
_TOKEN = re.compile(r"(?:^|_)token$", re.IGNORECASE)
_OPAQUE = re.compile(r"[A-Za-z0-9_\-.=+/]{16,}")
_HARMLESS_WORDS = re.compile(r"_(?:dim|size|len|length|name|column|path|file|env|var|field|feature)s?$", re.IGNORECASE)


def is_credential(name: str, value: Any) -> bool:
    """Whether the text `value` of a constant called `name` looks like a credential."""
    if not isinstance(value, (str, bytes)) or not value or _HARMLESS_WORDS.search(name):
        return False
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    if _CERTAIN.search(name):
        return True
    # Language models are full of tokens that are no secret: "<pad>", "[UNK]", "the".
    return bool(_TOKEN.search(name) and _OPAQUE.fullmatch(text) and re.search(r"\d", text))


def credential_in(name: str, value: Any, depth: int = 3) -> str | None:
    """Return the path (`NAME` or `NAME['key']`) of the first credential in a constant, or None."""
    if is_credential(name, value):
        return name
    if depth and isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(key, str):
                inside = credential_in(key, item, depth - 1)
                if inside:
                    return f"{name}[{key!r}]" + inside.removeprefix(key)
    return None


def written_credentials(node: ast.AST, text: str) -> Iterator[str]:
    """Names under which a statement, `text` its source, spells credentials out: assignments, keywords and defaults."""
    if not _HINT.search(text):
        return
    for inner in ast.walk(node):
        if isinstance(inner, ast.Assign):
            pairs = [(target, inner.value) for target in inner.targets]
        elif isinstance(inner, ast.AnnAssign) and inner.value:
            pairs = [(inner.target, inner.value)]
        elif isinstance(inner, ast.keyword) and inner.arg:
            pairs = [(ast.Name(inner.arg), inner.value)]
        elif isinstance(inner, ast.Dict):
            pairs = [(ast.Name(k.value), v) for k, v in zip(inner.keys, inner.values, strict=True) if _is_text(k)]  # type: ignore[union-attr]
        elif isinstance(inner, ast.arguments):
            named = [*inner.posonlyargs, *inner.args]
            pairs = [(ast.Name(a.arg), d) for a, d in zip(reversed(named), reversed(inner.defaults), strict=False)]
            pairs += [(ast.Name(a.arg), d) for a, d in zip(inner.kwonlyargs, inner.kw_defaults, strict=True) if d]
        else:
            continue
        for target, value in pairs:
            name = target.id if isinstance(target, ast.Name) else getattr(target, "attr", "")
            if isinstance(value, ast.Constant) and isinstance(name, str) and is_credential(name, value.value):
                yield name


def reads_environment(node: ast.AST) -> bool:
    """Whether a statement reads environment variables."""
    return any(
        isinstance(inner, (ast.Attribute, ast.Name))
        and (inner.attr if isinstance(inner, ast.Attribute) else inner.id) in ("environ", "getenv")
        for inner in ast.walk(node)
    )


def _is_text(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
