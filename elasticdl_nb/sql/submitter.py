"""The Python program, the submitter, that does what a statement asks for; it runs by itself."""

from __future__ import annotations

import json
import pprint
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elasticdl_nb.sql.engines.base import Engine
from elasticdl_nb.sql.features.drafts import MOST_TERMS
from elasticdl_nb.sql.features.statistics import values
from elasticdl_nb.sql.models.code import class_files, copy_built_in, write_record
from elasticdl_nb.sql.models.store import ModelStore
from elasticdl_nb.sql.verbs.training import Training

_TERMS_SHOWN = 20
_SECRET = re.compile(r"://[^/@]*:[^@]*@")

_TRAIN = '''"""Made from a SQL statement; run it with Python.

{statement}
"""

{imports}
import tempfile

import elasticdl_nb
from elasticdl_nb.sql import engines, submitter

# How each column becomes a feature. Vocabularies of more than {shown} terms are asked of the database again.
MODEL = {record}

SELECT = """{select}"""

QUERY = """{query}"""
{source}
engine = engines.connect({connect})
with tempfile.TemporaryDirectory() as zoo:
    submitter.write_zoo(zoo, engine, SELECT, MODEL{files})
    job = elasticdl_nb.train(
        model_zoo=zoo,
        data=engine.stream(QUERY),
{options}
        wait=False,
    )
job.wait()
print(job.report())
'''

_RUN = '''"""Made from a SQL statement; run it with Python."""

{imports}from elasticdl_nb.sql.session import Session

STATEMENT = """{statement}"""

with Session({connect}, store={store!r}) as session:
    for result in session.run(STATEMENT{params}):
        print(result)
'''


def write_zoo(
    folder: str, engine: Engine, select: str, record: dict[str, Any], files: Mapping[str, str] | None = None
) -> None:
    """Write the zoo of a model that a statement trains, its vocabularies completed by the database."""
    for name, content in (files or {}).items():
        (Path(folder) / name).write_text(content)
    if not files:
        copy_built_in(Path(folder))
    write_record(Path(folder), _mapped(record, lambda source: _completed(source, engine, select, record["kinds"])))


def training_program(training: Training, select: str, engine: Engine) -> str:
    """Return the program of a TRAIN statement."""
    files = class_files(training.model, training.record)
    record = _mapped(training.record, _shortened)
    options = [f"        {name}={value!r}," for name, value in training.options().items() if name != "job_name"]
    if training.validation:
        options.append(f'        validation_data=engine.stream("""{_escaped(training.validation)}"""),')
    source = f"\nFILES = {pprint.pformat(files, width=110)}\n" if files else ""
    connect, imports = _connect(engine)
    return _TRAIN.format(
        statement=_escaped(training.record["statement"]), imports=imports.rstrip("\n"), shown=_TERMS_SHOWN,
        record=pprint.pformat(record, width=110, sort_dicts=False), select=_escaped(select),
        query=_escaped(training.query), source=source, connect=connect, files=", FILES" if files else "",
        options="\n".join(options),
    ).replace('"""\n\n\nimport tempfile', '"""\n\nimport tempfile')  # fmt: skip


def session_program(statement: str, engine: Engine, store: ModelStore, params: Mapping[str, Any]) -> str:
    """Return the program of any other statement."""
    connect, imports = _connect(engine)
    given = f", params={dict(params)!r}" if params else ""
    return _RUN.format(
        imports=imports and f"{imports}\n",
        statement=_escaped(statement),
        connect=connect,
        store=store.path,
        params=given,
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')


def _connect(engine: Engine) -> tuple[str, str]:
    """Return the database's address as Python, and what has to be imported for it; no password stands in a program."""
    if _SECRET.search(engine.url):
        return 'os.environ["ELASTICDL_SQL_CONNECT"]', "import os\n"
    return repr(engine.url or ":memory:"), ""


def _mapped(record: dict[str, Any], change: Any) -> dict[str, Any]:
    """Return a copy of a record with every source of ids changed."""
    copy: dict[str, Any] = json.loads(json.dumps(record))

    def visit(source: dict[str, Any]) -> dict[str, Any]:
        source["sources"] = [visit(inner) for inner in source["sources"]]
        return change(source)  # type: ignore[no-any-return]

    for listed in copy["features"].values():
        for feature in listed:
            if feature["kind"] == "category":
                feature["source"] = visit(feature["source"])
    return copy


def _shortened(source: dict[str, Any]) -> dict[str, Any]:
    long = source["ids"] == "vocabulary" and len(source["terms"]) > _TERMS_SHOWN
    return {**source, "terms": None} if long else source


def _completed(source: dict[str, Any], engine: Engine, select: str, kinds: Mapping[str, str]) -> dict[str, Any]:
    if source["terms"] is not None:
        return source
    column = source["column"]
    terms = values(engine, select, column, kinds[column], MOST_TERMS)
    return {**source, "terms": [str(term) for term in terms if str(term) != ""]}
