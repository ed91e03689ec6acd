"""Finds constants that look like credentials, which must not be written to a packaged module."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

HARMLESS = "# not a secret"
HARMLESS_CURE = f"; if it is not a secret, end its line with the comment `{HARMLESS}`"
# Text whose form makes it a credential, whatever its name.
_FORMS = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{22,}|\bglpat-[\w-]{20,}"
    r"|\bsk-(?:proj-|ant-|live-|test-)?[A-Za-z0-9_-]{20,}|\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}"
    r"|\bhf_[A-Za-z0-9]{30,}|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[0-9A-Za-z_-]{35}"
    r"|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"
    r"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"  # a signed token
)
# Some of what every form contains, for long texts: searching for these is much faster.
_MARKS = (
    "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "sk-", "k_live_", "k_test_", "hf_",
    "xox", "AIza", "-----BEGIN", "eyJ", "://",
)  # fmt: skip
_LONG = 500
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/:@'\"{}<>]*:(?P<word>[^\s/@'\"{}<>$]+)@[\w.-]+", re.IGNORECASE)
_EXAMPLES = frozenset({"password", "pass", "pwd", "xxx", "***", "secret", "your_password", "<password>"})
_CERTAIN = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|pwd|secret|secret_key|api_?key|access_key|private_key|client_secret"
    r"|(?:auth|access|api|bearer|refresh|session|hf|github|gitlab|aws|wandb)_token|credentials?)(?:_\w*)?$",
    re.IGNORECASE,
)
_HINT = re.compile("pass|pwd|secret|key|token|credential", re.IGNORECASE)
_TOKEN = re.compile(r"(?:^|_)token$", re.IGNORECASE)
_OPAQUE = re.compile(r"[A-Za-z0-9_\-.=+/]{16,}")
_HARMLESS_WORDS = re.compile(r"_(?:dim|size|len|length|name|column|path|file|env|var|field|feature)s?$", re.IGNORECASE)


def has_form(text: str) -> bool:
    """Whether a text contains a credential, judged by form: a known service's key, or an address with a password."""
    if len(text) > _LONG and not any(mark in text for mark in _MARKS):
        return False
    if _FORMS.search(text):
        return True
    found = _URL.search(text)
    return found is not None and found["word"].lower() not in _EXAMPLES


def is_credential(name: str, value: Any) -> bool:
    """Whether the text `value` of a constant called `name` looks like a credential."""
    if not isinstance(value, (str, bytes)) or not value:
        return False
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    if has_form(text):
        return True
    if _HARMLESS_WORDS.search(name):
        return False
    if _CERTAIN.search(name):
        return True
    # Language models are full of tokens that are not secret: "<pad>", "[UNK]", "the".
    return bool(_TOKEN.search(name) and _OPAQUE.fullmatch(text) and re.search(r"\d", text))


def credential_in(name: str, value: Any, depth: int = 3) -> str | None:
    """Return the path (`NAME` or `NAME['key']`) of the first credential in a constant, or None."""
    if is_credential(name, value):
        return name
    if depth and isinstance(value, (list, tuple)) and len(value) < 1000:
        for place, item in enumerate(value):
            if isinstance(item, (str, bytes)) and is_credential("", item):
                return f"{name}[{place}]"
    if depth and isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(key, str):
                inside = credential_in(key, item, depth - 1)
                if inside:
                    return f"{name}[{key!r}]" + inside.removeprefix(key)
    return None


def written_credentials(node: ast.AST, text: str) -> Iterator[str]:
    """Yield the names to which a statement gives literal credentials, in assignments, keywords and defaults.

    `text` is the statement's source. Comments count, too, but lines that are marked as harmless do not.
    """
    lines = text.splitlines()
    harmless = {line for line in lines if HARMLESS in line}
    for line in lines:
        if line not in harmless and has_form(line):
            yield line.strip()[:12] + "…"
            return
        said = re.fullmatch(r"\s*#\s*(\w+)\s*=\s*(['\"])(.+)\2.*", line)
        if said and line not in harmless and is_credential(said[1], said[3]):
            yield f"{said[1]}, commented out"
            return
    if not _HINT.search(text) or any(HARMLESS in line for line in lines if len(lines) == 1):
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
            if not isinstance(value, ast.Constant) or not isinstance(name, str):
                continue
            excused = any(str(value.value) in line for line in harmless)
            if is_credential(name, value.value) and not excused:
                yield name


def credentials_in_file(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of each credential that is written out in a file of Python source or data."""
    for number, line in enumerate(text.splitlines(), 1):
        if HARMLESS in line or (not _HINT.search(line) and not has_form(line)):
            continue
        if has_form(line):
            yield number, "by its form"
            continue
        said = re.search(r"(\w+)['\"]?\s*[=:]\s*(['\"])(.+?)\2", line)
        if said and is_credential(said[1], said[3]):
            yield number, said[1]


def reads_environment(node: ast.AST) -> bool:
    """Whether a statement reads environment variables."""
    return any(
        isinstance(inner, (ast.Attribute, ast.Name))
        and (inner.attr if isinstance(inner, ast.Attribute) else inner.id) in ("environ", "getenv")
        for inner in ast.walk(node)
    )


def _is_text(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
