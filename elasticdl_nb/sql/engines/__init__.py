"""SQL engines: DuckDB in this process, and PostgreSQL, MySQL, MariaDB, SQLite and others through SQLAlchemy.

`engine` is what every engine must do, `relations` is what it knows about tables, `sqltext` writes SQL, and
`parameters` binds values for `:name`. `duck` is DuckDB. `opening` finds the engine for a URL: `postgresql`, `mysql`,
`sqlite` or, for all others, `alchemy`. These use `postgrescopy`, `arrowtypes` and `grants`. `interrupting` cancels what
runs, and `state` is what a lost connection takes along. This folder knows nothing of statements, models or jobs.
"""

from __future__ import annotations

import importlib
import os
import re
from typing import Any

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.sql.engines.engine import Connection, Engine
from elasticdl_nb.sql.engines.relations import Column, Relation, RowKey, Table

__all__ = ["Column", "Connection", "Engine", "Relation", "RowKey", "Table", "connect", "without_password"]

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+_.-]*://?.*|sqlite:.*")


def connect(target: Any = None) -> Engine:
    """Return the engine that `target` stands for.

    - None, ":memory:" or "duckdb://": a DuckDB database in memory;
    - a path, or "duckdb:///PATH": a DuckDB database in a file, which is created if it does not exist;
    - a SQLAlchemy URL: "postgresql://…", "mysql://…", "mariadb://…", "sqlite:///PATH", …;
    - an open DuckDB connection or a SQLAlchemy engine, which stays open when the session ends.

    Raises OptionError("connect", …) for anything else, or if a library is not installed or the server refuses.
    """
    if target is None or isinstance(target, (str, os.PathLike)):
        return _by_name(os.fspath(target or ""))
    module = type(target).__module__.partition(".")[0]
    if module in ("duckdb", "_duckdb"):
        return _load("duck", "duckdb", "sql").DuckEngine(target)  # type: ignore[no-any-return]
    if module == "sqlalchemy":
        return _load("opening", "sqlalchemy", "sql").open_engine(target)  # type: ignore[no-any-return]
    raise OptionError(
        "connect",
        f"an object of type {type(target).__name__} is not a database; give a path, a URL such as "
        "postgresql://user@host/name, a DuckDB connection or a SQLAlchemy engine",
    )


def _by_name(name: str) -> Engine:
    scheme, separator, rest = name.partition("://")
    if name in ("", ":memory:") or (scheme == "duckdb" and separator) or not _URL.fullmatch(name):
        path = rest.removeprefix("/") if separator else name
        if path in ("", ":memory:"):
            return _load("duck", "duckdb", "sql").DuckEngine(":memory:")  # type: ignore[no-any-return]
        path = os.path.abspath(os.path.expanduser(path))
        if not os.path.isdir(os.path.dirname(path)) or os.path.isdir(path):
            what = f"{path} is a directory" if os.path.isdir(path) else f"there is no directory {os.path.dirname(path)}"
            raise OptionError("connect", f"{name}: {what}; expected a DuckDB file or a URL")
        return _load("duck", "duckdb", "sql").DuckEngine(path, url=f"duckdb:///{path}")  # type: ignore[no-any-return]
    return _load("opening", "sqlalchemy", "sql").open_engine(name)  # type: ignore[no-any-return]


def _load(module: str, library: str, extra: str) -> Any:
    try:
        importlib.import_module(library)
    except ImportError:
        raise OptionError("connect", f"{library} is not installed; pip install 'elasticdl_nb[{extra}]'") from None
    return importlib.import_module(f"{__name__}.{module}")


def without_password(url: str) -> str:
    """Return a database's URL in a form that may be shown."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)
