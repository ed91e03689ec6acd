"""Finds the engine that knows the dialect of a SQLAlchemy URL or engine."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.pool import NullPool, StaticPool

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.sql.engines.alchemy import AlchemyEngine
from elasticdl_nb.sql.engines.mysql import MySqlEngine
from elasticdl_nb.sql.engines.postgresql import PostgresEngine
from elasticdl_nb.sql.engines.sqlite import SqliteEngine
from elasticdl_nb.sql.language.errors import SqlError

# The driver if the URL names none: those that our extras install.
_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "mysql": "mysql+pymysql",
            "mariadb": "mariadb+pymysql"}  # fmt: skip
_EXTRAS = {"psycopg": "postgresql", "psycopg2": "postgresql", "pymysql": "mysql", "MySQLdb": "mysql"}
_KINDS: dict[str, type[AlchemyEngine]] = {
    "postgresql": PostgresEngine, "mysql": MySqlEngine, "mariadb": MySqlEngine, "sqlite": SqliteEngine,
}  # fmt: skip


def open_engine(target: str | sa.Engine | sa.Connection) -> AlchemyEngine:
    """Return the engine for a URL, or around a SQLAlchemy engine; raise OptionError if it cannot be reached."""
    if isinstance(target, (sa.Connection, sa.Engine)):
        given = target if isinstance(target, sa.Connection) else None
        return _KINDS.get(target.dialect.name, AlchemyEngine)(target.engine, owned=False, given=given)
    shown = "the URL"
    try:
        url = sa.make_url(target)
        shown = url.render_as_string(hide_password=True)
        if "+" not in url.drivername:
            url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
        pool = StaticPool if url.drivername == "sqlite" and url.database in (None, "", ":memory:") else NullPool
        # If connections share one connection of the driver, closing one must not affect the others.
        threads = {"check_same_thread": False} if url.drivername.startswith("sqlite") else {}
        engine = sa.create_engine(url, poolclass=pool, isolation_level="AUTOCOMMIT", connect_args=threads)
        made = _KINDS.get(engine.dialect.name, AlchemyEngine)(engine, owned=True)
        assert made.main
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(error.name or "")
        how = f"pip install 'elasticdl_nb[{extra}]'" if extra else f"pip install {error.name}"
        raise OptionError("connect", f"{shown} needs {error.name}, which is not installed; {how}") from None
    except sa.exc.NoSuchModuleError:
        raise OptionError(
            "connect", f"{shown}: SQLAlchemy does not know this database; see its list of dialects"
        ) from None
    except sa.exc.ArgumentError:
        raise OptionError(
            "connect", "the URL cannot be read; expected something like postgresql://user@host:5432/name"
        ) from None
    except SqlError as error:
        raise OptionError("connect", error.problem) from None
    return made
