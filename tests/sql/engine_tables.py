"""The databases that tests of engines run on, and a table in each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from elasticdl_nb.runtime.model.saving.trained import MESSAGE, ZOO
from elasticdl_nb.runtime.protocol import trained_model_pb2 as pb
from elasticdl_nb.sql import engines
from elasticdl_nb.sql.engines.parameters import plain_parameters
from elasticdl_nb.sql.language.parser import parse
from elasticdl_nb.sql.language.statements import Train
from elasticdl_nb.sql.models.zoofolder import write_zoo
from elasticdl_nb.sql.session import Session
from elasticdl_nb.sql.verbs import training
from elasticdl_nb.sql.verbs.context import Context

ENGINES = [
    "duckdb",
    "sqlite",
    "sqlite-memory",
    pytest.param("postgresql", marks=pytest.mark.needs("postgresql")),
    pytest.param("mariadb", marks=pytest.mark.needs("mariadb")),
]


def url_of(kind: str, folder: Path, request: pytest.FixtureRequest) -> str:
    if kind == "duckdb":
        return str(folder / "data.duckdb")
    if kind.startswith("sqlite"):
        return "sqlite://" if kind == "sqlite-memory" else f"sqlite:///{folder}/data.sqlite"
    return str(request.getfixturevalue(f"{kind}_url"))


def fill_people(engine: engines.Engine, rows: int = 60, name: str = "people") -> None:
    """A table with a key, numbers, texts, dates, a boolean, decimals and NULLs; `pay` follows from `role`."""
    text = "VARCHAR(40)"
    quoted = engine.quote(name)
    engine.main.run(f"DROP TABLE IF EXISTS {quoted}")
    engine.main.run(
        f"CREATE TABLE {quoted} (id INTEGER PRIMARY KEY, age INTEGER, height DOUBLE PRECISION, role {text}, born DATE, "
        "fee DECIMAL(10, 2), member BOOLEAN, same INTEGER, pay DOUBLE PRECISION)"
    )
    values = []
    for n in range(rows):
        role = ("clerk", "chief", "Boss's")[n % 3]
        age = None if n % 10 == 3 else 20 + n % 40
        literals = [
            n + 1, age, 150.5 + n % 30, role, f"19{50 + n % 50}-0{1 + n % 9}-1{n % 10}", None, n % 2 == 0, 7,
            1000.0 * (1 + n % 3) + n % 5,
        ]  # fmt: skip
        fee = "NULL" if n % 7 == 0 else f"{n}.25"
        row = ["fee" if place == 5 else engine.literal(value) for place, value in enumerate(literals)]
        row[5] = fee
        values.append(f"({', '.join(row)})")
    engine.main.run(f"INSERT INTO {quoted} VALUES {', '.join(values)}")


def store_untrained(
    session: Session,
    statement: str,
    namespace: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
) -> None:
    """Put a model into the store that only lacks its training: enough for all checks of those who use it."""
    given = plain_parameters(params)
    parsed = parse(statement, session.dialect, given)[0]
    assert isinstance(parsed, Train)
    prepared = training.prepare(parsed, Context(session.engine, session.store, namespace or {}, given))
    folder = Path(prepared.output)
    (folder / ZOO).mkdir(parents=True)
    write_zoo(prepared.model, prepared.record, folder / ZOO)
    (folder / MESSAGE).write_bytes(pb.TrainedModel(model_zoo=ZOO, created_at=1.0).SerializeToString())
