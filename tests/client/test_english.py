"""Phrases that are not English, or hardly so, stay out of everything that users and developers read."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READ = ("*.md", "docs", "notebooks", "runtime", "elasticdl_nb", "magics", "widgets", "model_zoo", "benchmarks")
SUFFIXES = {".py", ".md", ".ipynb", ".proto", ".txt", ".js"}
GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$|\.egg-info/|/\.ipynb_checkpoints/")

# Each with what to write instead.
PHRASES = {
    r"does not do:|that does not do\b": "is not valid",
    r"(?:can|could)(?:not| not) be had": "is not available",
    r"\bshall\b": "should, must, or the plain present",
    r"\bbelongs? into\b": "belongs in",
    r"\bat need\b": "if needed",
    r"\b(?:its|their|and) kin\b": "similar …, or the others by name",
    r"\banew\b": "again, or a new …",
    r"\b(?:is|are) (?:said|told) in one message": "is reported in one message",
    r"\band that is said\b": "and a message says so",
    r"\b[Tt]hey also run without anyone\b": "they also run unattended",
    r"\bwhat (?:came|comes) of (?:it|a|an|the)\b": "the result of",
    r"\bhow (?:it|they|a job|jobs|things) goe?s?\b(?! on)": "progress",
    r"\bin whatever way\b": "in any way",
    r"\bwithout a word\b": "silently",
    r"\bsuch as ha(?:s|ve)\b": "that has",
    r"(?<!there\s)\bis none of\b": "is not one of",
    r"(?<!there\s)\bis no (?:name|number|quantity|resource|class|module|regular)\b": "is not a …",
    r"\b(?:one|1) at least (?:is|are) needed": "expected at least 1",
    r"\bgoes? on by (?:itself|themselves)\b": "continues by itself",
    r"\bof another (?:form|kind|type|format) than\b": "of a different … than",
    r"\b(?:as|until) (?:people|a person) (?:see|want|write)s?\b": "as users …",
    r"\bfor people\b(?! who)": "for users, to be shown, or nothing",
    r"\bbefore it is known (?:what for|for what)\b": "before their task is known",
    r"\b(?:is|are) to be had\b": "is available",
}


def texts() -> Iterator[tuple[str, str]]:
    """Every file that is read, by its path from the root."""
    for pattern in READ:
        for found in sorted(ROOT.glob(pattern)):
            for path in sorted(found.rglob("*")) if found.is_dir() else [found]:
                name = path.relative_to(ROOT).as_posix()
                if path.suffix in SUFFIXES and not GENERATED.search(name):
                    yield name, path.read_text(encoding="utf-8")


def test_no_known_slip_comes_back() -> None:
    found = []
    for name, text in texts():
        for phrase, instead in PHRASES.items():
            for match in re.finditer(phrase.replace(" ", r"\s+(?:#\s+)?"), text):
                line = text.count("\n", 0, match.start()) + 1
                found.append(f"{name}:{line}: {' '.join(match[0].split())!r}; write: {instead}")
    assert not found, "\n".join(["", *found])


def test_the_slips_are_recognized() -> None:
    slips = ("'x' does not do: y", "belong into it", "What shall it be?", "cannot\n    be had", "formed anew at need")
    for slip in slips:
        assert any(re.search(phrase.replace(" ", r"\s+"), slip) for phrase in PHRASES), slip
    assert sum(1 for _ in texts()) > 100
