"""The submitter: a standalone Python program that does what a statement asks for."""

from __future__ import annotations

import contextlib
import pprint
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from elasticdl_nb.sql.engines import Engine
from elasticdl_nb.sql.features.selection import Selection
from elasticdl_nb.sql.features.snapshots import snapshots
from elasticdl_nb.sql.features.statistics import MOST_TERMS, values, vocabulary_of
from elasticdl_nb.sql.models.zoofolder import class_files, copy_built_in, write_record
from elasticdl_nb.sql.record.recordjson import record_from_json, record_to_json
from elasticdl_nb.sql.verbs.context import Context
from elasticdl_nb.sql.verbs.training import Training
from elasticdl_nb.tables.featurerecord import Source

_TERMS_SHOWN = 20
_SECRET = re.compile(r"://[^/@]*:[^@]*@")

_TRAIN = '''"""Generated from a SQL statement. Run it with Python.

{statement}
"""

{imports}
import tempfile

import elasticdl_nb
from elasticdl_nb.sql import engines, submitter

# How each column becomes a feature. Vocabularies of more than {shown} terms are read from the database again.
MODEL = {record}

# The query runs once, so that all that is read from it fits together.
SELECT = """{select}"""
{validation}
COLUMNS, LABEL = {columns}, {label!r}
{source}
engine = engines.connect({connect})
with tempfile.TemporaryDirectory() as zoo, submitter.evaluated(engine, MODEL, SELECT{more}) as rows:
    submitter.write_zoo(zoo, rows[0].engine, rows[0].query, MODEL{files})
    job = elasticdl_nb.train(
        model_zoo=zoo,
        data=rows[0].part(COLUMNS, LABEL).stream(),
{options}
        wait=False,
    )
job.wait()
print(job.report())
'''

_RUN = '''"""Generated from a SQL statement. Run it with Python."""

{imports}from elasticdl_nb.sql.session import Session

STATEMENT = """{statement}"""

with Session({connect}, store={store!r}) as session:
    for result in session.run(STATEMENT{params}):
        print(result)
'''


def write_zoo(
    folder: str, engine: Engine, select: str, record: Mapping[str, Any], files: Mapping[str, str | bytes] | None = None
) -> None:
    """Write the zoo of a model that a statement trains, and complete its vocabularies from the database.

    Saved programs call this with the record that they contain: JSON values, in the current version or an earlier one,
    with null for a long vocabulary. Raises RecordError for anything else.
    """
    read = record_from_json(dict(record))
    rows = Selection(engine, select, read.kinds)
    for name, content in (files or {}).items():
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    if not files:
        copy_built_in(Path(folder))
    write_record(Path(folder), read.with_sources(lambda source: _completed(source, rows)))


@contextlib.contextmanager
def evaluated(engine: Engine, record: Mapping[str, Any], *queries: str) -> Iterator[list[Selection]]:
    """Evaluate a program's queries once, at one moment; yield selections of their rows, in the first one's types."""
    own_input = record_from_json(dict(record)).own_input
    asked = [Selection.of(engine, query, None) for query in queries]
    with snapshots([rows.as_it_is() if own_input else rows for rows in asked]) as kept:
        yield [replace(rows, kinds=kept[0].kinds) for rows in kept]


def training_program(training: Training, engine: Engine) -> str:
    """Return the program of a TRAIN statement."""
    files = class_files(training.model)
    record = record_to_json(training.record.with_sources(_shortened))
    options = [f"        {name}={value!r}," for name, value in training.options().items() if name != "job_name"]
    validation = more = ""
    if training.validation is not None:
        validation, more = f'\nVALIDATION = """{_escaped(training.validation.query)}"""\n', ", VALIDATION"
        options.append("        validation_data=rows[1].part(COLUMNS, LABEL).stream(),")
    source = f"\nFILES = {pprint.pformat(files, width=110)}\n" if files else ""
    connect, imports = _connect(engine)
    return _TRAIN.format(
        statement=_escaped(training.record.statement), imports=imports.rstrip("\n"), shown=_TERMS_SHOWN,
        record=pprint.pformat(record, width=110, sort_dicts=False), select=_escaped(training.rows.query),
        validation=validation, more=more, columns=pprint.pformat(list(training.columns), width=100, compact=True),
        label=training.label, source=source, connect=connect, files=", FILES" if files else "",
        options="\n".join(options),
    ).replace('"""\n\n\nimport tempfile', '"""\n\nimport tempfile')  # fmt: skip


def session_program(statement: str, context: Context) -> str:
    """Return the program of any other statement."""
    connect, imports = _connect(context.engine)
    given = f", params={dict(context.params)!r}" if context.params else ""
    return _RUN.format(
        imports=imports and f"{imports}\n",
        statement=_escaped(statement),
        connect=connect,
        store=context.store.path,
        params=given,
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')


def _connect(engine: Engine) -> tuple[str, str]:
    """Return the database's address as Python code, and the imports it needs. A program never contains a password."""
    if _SECRET.search(engine.url):
        return 'os.environ["ELASTICDL_SQL_CONNECT"]', "import os\n"
    return repr(engine.url or ":memory:"), ""


def _shortened(source: Source) -> Source:
    return replace(source, terms=None) if len(source.terms or ()) > _TERMS_SHOWN else source


def _completed(source: Source, rows: Selection) -> Source:
    if source.terms is not None:
        return source
    return replace(source, terms=vocabulary_of(values(rows, source.column, MOST_TERMS)))
