"""Every engine and every kind of target: each row gets its own prediction and all else stays, or nothing changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from engine_tables import ENGINES, store_untrained, url_of

from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.parser import parse
from elasticdl_nb.sql.language.statements import Predict
from elasticdl_nb.sql.session import Session
from elasticdl_nb.sql.verbs import predicting
from elasticdl_nb.sql.verbs.context import Context
from elasticdl_nb.sql.writing.workplace import Workplace

ROWS = 40
DUCK, LITE, POSTGRES, MARIA = "duckdb", "sqlite", "postgres", "mysql"
ALL = (DUCK, LITE, POSTGRES, MARIA)


@dataclass(frozen=True)
class Case:
    """Tables that statements of `setup` make, and a prediction of `f(x) = 2 x + 1` into a column of one of them.

    `table` is the one to look at in the end; `refused` is the message, if nothing may change. `column` is where
    predictions are expected, in the rows that `where` says. `meanwhile` runs between reading and writing.
    """

    name: str
    setup: tuple[str, ...]
    select: str = "SELECT x FROM t"
    target: str = "t.p"
    table: str = "t"
    column: str = "p"
    where: str = "1 = 1"
    refused: str = ""
    meanwhile: str = ""
    engines: tuple[str, ...] = ALL
    how: str = ""
    replace: bool = False
    as_before: str = ""


def filled(name: str = "t", columns: str = "id INTEGER, x INTEGER, note VARCHAR(9)", tail: str = "") -> tuple[str, ...]:
    values = ", ".join(f"({n}, {(n * 7) % 13}, 'n{n % 3}')" for n in range(ROWS))
    return f"CREATE TABLE {name} ({columns}){tail}", f"INSERT INTO {name} (id, x, note) VALUES {values}"


KEYED = "id INTEGER PRIMARY KEY, x INTEGER, note VARCHAR(9)"
TRIGGER = {
    POSTGRES: "CREATE FUNCTION hook() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NEW; END $$; "
    "CREATE TRIGGER hooked {} UPDATE ON t FOR EACH ROW {} EXECUTE FUNCTION hook()",
}


def hook(when: str, body: str, condition: str = "") -> str:
    return TRIGGER[POSTGRES].format(body, when, condition)


TRUE_COUNT = "SELECT x, (SELECT COUNT(*) FROM o) AS n FROM t"
CASES = [
    Case("primary key", filled(columns=KEYED), how="the primary key (id)"),
    Case("primary key that may be NULL", filled(columns="id VARCHAR(9) PRIMARY KEY, x INTEGER, note VARCHAR(9)"),
         engines=(LITE,), how="rowid"),
    Case("unique key", filled(columns="id INTEGER NOT NULL UNIQUE, x INTEGER, note VARCHAR(9)"), how="the unique key"),
    Case("unique key with NULLs", filled(columns="id INTEGER UNIQUE, x INTEGER, note VARCHAR(9)"), how="row"),
    Case("no key", filled(), engines=(DUCK, LITE), how="the row number (rowid)"),
    Case("no key", filled(), engines=(POSTGRES,), how="partition and place"),
    Case("no key", filled(), engines=(MARIA,), how="all other columns"),
    Case("equal rows", (*filled(), *filled("u")[:1], "INSERT INTO t SELECT * FROM t"), engines=(DUCK, LITE, POSTGRES)),
    Case("equal rows", (*filled(), "INSERT INTO t SELECT * FROM t"), engines=(MARIA,), refused="equal in all columns"),
    Case("one of two equal rows", (*filled(), "INSERT INTO t SELECT * FROM t WHERE id = 3"), engines=(MARIA,),
         select="SELECT x FROM t WHERE id = 3 LIMIT 1", refused="changed during the prediction"),
    Case("some rows", filled(columns=KEYED), select="SELECT a.x FROM t AS a WHERE a.id > 30", where="id > 30"),
    Case("existing column", (*filled(columns=KEYED), "ALTER TABLE t ADD COLUMN p DECIMAL(10, 2)"), where="id <> 5",
         select="SELECT x FROM t WHERE id <> 5"),
    Case("existing column without key", (*filled(), "ALTER TABLE t ADD COLUMN p DOUBLE PRECISION")),
    Case("indexed column", (*filled(), "ALTER TABLE t ADD COLUMN p DOUBLE PRECISION", "UPDATE t SET p = 0 * id",
                            "CREATE INDEX by_p ON t (p)")),
    Case("folded names", filled(columns=KEYED), target="T.P", select="SELECT x FROM t", engines=(DUCK, LITE, POSTGRES)),
    Case("quoted names in other case", (*filled('"T"'), *filled()), select='SELECT x FROM "T"', target='"T"."P"',
         table='"T"', column='"P"', engines=(POSTGRES,)),
    Case("quoted and unicode names", filled('"ünï .t"', KEYED), select='SELECT x FROM "ünï .t" AS "A b"',
         target='"ünï .t"."é p"', table='"ünï .t"', column='"é p"'),
    Case("view", (*filled("u"), "CREATE VIEW t AS SELECT * FROM u"), table="u", refused="t is a view"),
    Case("generated column", filled(columns=f"{KEYED}, g INTEGER GENERATED ALWAYS AS (x * 3) STORED"),
         engines=(POSTGRES, MARIA, LITE)),
    Case("generated column", filled(columns=f"{KEYED}, g INTEGER GENERATED ALWAYS AS (x * 3) VIRTUAL"),
         engines=(DUCK,)),
    Case("generated target", filled(columns=f"{KEYED}, p DOUBLE PRECISION GENERATED ALWAYS AS (x * 3) STORED"),
         engines=(POSTGRES, MARIA, LITE), refused="computed by the database"),
    Case("generated target", filled(columns=f"{KEYED}, p DOUBLE GENERATED ALWAYS AS (x * 3.0e0) VIRTUAL"),
         engines=(DUCK,), refused="computed by the database"),
    Case("part of the key", filled(columns="id INTEGER, x INTEGER, note VARCHAR(9), p DOUBLE PRECISION DEFAULT 1, "
         "PRIMARY KEY (id, p)"), refused="which identifies the rows", engines=(DUCK, POSTGRES, MARIA)),
    Case("the label", (*filled(columns=KEYED), "ALTER TABLE t ADD COLUMN y DOUBLE PRECISION"), target="t.y",
         refused="the label that the model was trained on", column="y"),
    Case("the label by its first name", (*filled(columns=KEYED), "ALTER TABLE t ADD COLUMN first DOUBLE PRECISION"),
         target="t.first", column="first", refused="the label that the model was trained on"),
    Case("the label, replaced", (*filled(columns=KEYED), "ALTER TABLE t ADD COLUMN y DOUBLE PRECISION"), target="t.y",
         column="y", replace=True),
    Case("rows several times", (*filled(columns=KEYED), *filled("o")),
         select="SELECT t.x FROM t JOIN o ON o.id < 2", refused="only 40 different rows of t"),
    Case("rows that are none", (*filled(columns=KEYED), *filled("o"), "INSERT INTO o VALUES (99, 1, 'o')"),
         select="SELECT o.x FROM o LEFT JOIN t ON t.id = o.id", refused="only 40 different rows of t"),
    Case("a name of WITH", (*filled(columns=KEYED), *filled("o")),
         select="WITH t AS (SELECT * FROM o) SELECT x FROM t", refused="t exists and is not the table selected from"),
    Case("a name of WITH in other case", (*filled(columns=KEYED), *filled("o")),
         select="WITH T AS (SELECT * FROM o) SELECT x FROM t", refused="t exists and is not the table selected from",
         engines=(DUCK, LITE, POSTGRES)),
    Case("WITH beside", (*filled(columns=KEYED), *filled("o")),
         select="WITH o2 AS (SELECT MAX(x) AS m FROM o) SELECT t.x FROM t, o2"),
    Case("aggregate in brackets", (*filled(columns=KEYED), *filled("o")), select=TRUE_COUNT),
    Case("aggregate", filled(columns=KEYED), select="SELECT MAX(x) AS x FROM t", refused="cannot tell which rows of t"),
    Case("aggregate of a window", filled(columns=KEYED),
         select="SELECT x, SUM(x) OVER (PARTITION BY note) AS s FROM t"),
    Case("distinct from", filled(columns=KEYED), select="SELECT x IS DISTINCT FROM 3 AS d, x FROM t",
         engines=(DUCK, POSTGRES)),
    Case("FROM first", filled(columns=KEYED), select="FROM t SELECT x", engines=(DUCK,)),
    Case("another table", (*filled(columns=KEYED), *filled("o")), select="SELECT x FROM o",
         refused="t exists and is not the table selected from"),
    Case("changed in between", filled(columns=KEYED), meanwhile="UPDATE t SET x = 99 WHERE id = 7",
         refused="changed during the prediction", as_before="id <> 7"),
    Case("changed in between, no key", filled(), meanwhile="UPDATE t SET note = 'late' WHERE id = 7",
         refused="changed during the prediction", as_before="id <> 7"),
    Case("deleted in between", filled(), meanwhile="DELETE FROM t WHERE id = 7", as_before="id <> 7",
         refused="changed during the prediction"),
    Case("added in between", filled(columns=KEYED), meanwhile="INSERT INTO t (id, x, note) VALUES (77, 7, 'new')",
         where="id < 77"),
    # temporary tables, schemas and databases
    Case("temporary",
         ("CREATE TEMPORARY TABLE t AS SELECT * FROM (SELECT 1 AS id, 5 AS x UNION ALL SELECT 2, 6) AS q",)),
    Case("temporary hides", (*filled(), "CREATE TEMPORARY TABLE tt AS SELECT * FROM t WHERE id < 9",
         "ALTER TABLE t RENAME TO kept", "ALTER TABLE tt RENAME TO t"), engines=(LITE, POSTGRES)),
    Case("temporary hides", (*filled(), "CREATE TEMP TABLE t AS SELECT * FROM main.t WHERE id < 9"), engines=(DUCK,)),
    Case("temporary hides", (*filled(), "CREATE TEMPORARY TABLE t AS SELECT * FROM t WHERE id < 9"), engines=(MARIA,)),
    Case("other schema", ("CREATE SCHEMA s2", *filled("s2.t"), *filled()), select="SELECT x FROM s2.t", target="s2.t.p",
         table="s2.t", engines=(DUCK, POSTGRES, MARIA)),
    Case("table of another schema", ("CREATE SCHEMA s2", *filled("s2.t"), *filled()), select="SELECT x FROM s2.t",
         refused="t exists and is not the table selected from", engines=(DUCK, POSTGRES, MARIA)),
    Case("table of another schema, reversed", ("CREATE SCHEMA s2", *filled("s2.t"), *filled()), target="s2.t.p",
         refused="exists and is not the table selected from", engines=(DUCK, POSTGRES, MARIA)),
    Case("search path", ("CREATE SCHEMA s2", *filled("s2.t"), *filled(), "SET search_path = 's2'"), table="s2.t",
         engines=(DUCK, POSTGRES)),
    Case("search path, full name", ("CREATE SCHEMA s2", *filled("s2.t"), *filled(), "SET search_path = 's2'"),
         table="s2.t", target="s2.t.p", engines=(DUCK, POSTGRES)),
    Case("another database", ("CREATE SCHEMA s2", *filled("s2.t"), *filled(), "USE s2"), table="s2.t",
         engines=(DUCK, MARIA)),
    Case("attached", ("ATTACH ':memory:' AS \"a b\"", *filled('"a b".t'), *filled()), select='SELECT x FROM "a b".t',
         target='"a b".t.p', table='"a b".t', engines=(DUCK, LITE)),
    Case("attached, other one", ("ATTACH ':memory:' AS a", *filled("a.t"), *filled()), select="SELECT x FROM a.t",
         refused="exists and is not the table selected from", engines=(DUCK, LITE)),
    # what only some engines have
    Case("partitions", ("CREATE TABLE t (id INTEGER, x INTEGER, note TEXT) PARTITION BY RANGE (id)",
         "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (20)",
         "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (20) TO (99)", filled()[1]), engines=(POSTGRES,)),
    Case("partitions with key", (f"CREATE TABLE t ({KEYED}) PARTITION BY RANGE (id)",
         "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (20)",
         "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (20) TO (99)", filled()[1]), engines=(POSTGRES,),
         how="the primary key"),
    Case("partition itself", ("CREATE TABLE t (id INTEGER, x INTEGER, note TEXT, p DOUBLE PRECISION) "
         "PARTITION BY RANGE (id)", "CREATE TABLE t1 PARTITION OF t DEFAULT", filled()[1]), engines=(POSTGRES,),
         target="t1.p", refused="exists and is not the table selected from"),
    Case("partitions", filled(columns=KEYED, tail=" PARTITION BY HASH (id) PARTITIONS 3"), engines=(MARIA,)),
    Case("inherited", (*filled(columns=KEYED), "CREATE TABLE child (more TEXT) INHERITS (t)",
         "INSERT INTO child SELECT id, x + 100, note FROM t"), engines=(POSTGRES,), how="partition and place"),
    Case("inherited, only the parent", (*filled(columns=KEYED), "CREATE TABLE child (more TEXT) INHERITS (t)",
         "INSERT INTO child SELECT id, x + 100, note FROM t"), select="SELECT x FROM ONLY t", where="x < 100",
         engines=(POSTGRES,)),
    Case("materialized view", (*filled("u"), "CREATE MATERIALIZED VIEW t AS SELECT * FROM u"), engines=(POSTGRES,),
         table="u", refused="t is a materialized view"),
    Case("types that cannot be compared", (*filled(columns=f"{KEYED}, j JSON, g POINT"),
         "UPDATE t SET j = '{\"a\": 1}', g = '(1, 2)' WHERE id < 9"), engines=(POSTGRES,)),
    Case("a column called rowid", filled(columns="id INTEGER, x INTEGER, note TEXT, rowid INTEGER"), engines=(DUCK,),
         refused="cannot be identified for certain"),
    Case("a column called rowid", filled(columns="id INTEGER, x INTEGER, note TEXT, rowid INTEGER"), engines=(LITE,),
         how="_rowid_"),
    Case("without rowid", filled(columns=KEYED, tail=" WITHOUT ROWID"), engines=(LITE,), how="primary key"),
    Case("collations", filled(columns="id INTEGER, x INTEGER, note TEXT COLLATE NOCASE"), engines=(LITE,),
         meanwhile="UPDATE t SET note = upper(note)", refused="changed during the prediction", as_before="1 = 0"),
    Case("collations", filled(columns=KEYED), engines=(MARIA,), meanwhile="UPDATE t SET note = upper(note)",
         refused="changed during the prediction", as_before="1 = 0"),
    Case("no transactions", filled(columns=KEYED, tail=" ENGINE=MyISAM"), engines=(MARIA,),
         refused="has no transactions"),
    Case("times of updates", filled(columns=f"{KEYED}, at TIMESTAMP DEFAULT '2001-01-01 00:00:01' "
         "ON UPDATE CURRENT_TIMESTAMP"), engines=(MARIA,)),
    Case("a value that does not fit", (*filled(columns=KEYED), "ALTER TABLE t ADD COLUMN p DECIMAL(3, 2)",
         "SET sql_mode = ''"), engines=(MARIA,), refused="Out of range"),
    Case("rules", (*filled(columns=KEYED), "ALTER TABLE t ADD COLUMN p DOUBLE PRECISION",
         "CREATE RULE r AS ON UPDATE TO t DO INSTEAD NOTHING"), engines=(POSTGRES,), refused="changed during"),
    # triggers
    Case("trigger elsewhere", (*filled(columns=KEYED), "CREATE TABLE log (x INTEGER)",
         hook("AFTER", "INSERT INTO log VALUES (NEW.x);")), engines=(POSTGRES,)),
    Case("trigger elsewhere", (*filled(columns=KEYED), "CREATE TABLE log (x INTEGER)",
         "CREATE TRIGGER hooked AFTER UPDATE ON t BEGIN INSERT INTO log VALUES (NEW.x); END"), engines=(LITE,)),
    Case("trigger elsewhere", (*filled(columns=KEYED), "CREATE TABLE log (x INTEGER)",
         "CREATE TRIGGER hooked AFTER UPDATE ON t FOR EACH ROW INSERT INTO log VALUES (NEW.x)"), engines=(MARIA,)),
    Case("trigger without key", (*filled(), hook("BEFORE", "NEW.note := 'x';")), engines=(POSTGRES,),
         refused="it has triggers, and no key"),
    Case("trigger on another column", (*filled(columns=KEYED), hook("BEFORE", "NEW.note := 'x';")), engines=(POSTGRES,),
         refused="changes the predictions"),
    Case("trigger on another column", (*filled(columns=KEYED),
         "CREATE TRIGGER hooked BEFORE UPDATE ON t FOR EACH ROW SET NEW.note = 'x'"), engines=(MARIA,),
         refused="changes the predictions"),
    Case("trigger on the value", (*filled(columns=KEYED), "ALTER TABLE t ADD COLUMN p DOUBLE PRECISION",
         hook("BEFORE", "NEW.p := NEW.p + 1;")), engines=(POSTGRES,), refused="changes the predictions"),
    Case("trigger on the value", (*filled(columns=KEYED), "ALTER TABLE t ADD COLUMN p DOUBLE PRECISION",
         "CREATE TRIGGER hooked BEFORE UPDATE ON t FOR EACH ROW SET NEW.p = NEW.p + 1"), engines=(MARIA,),
         refused="changes the predictions"),
    Case("trigger on the value", (*filled(columns=KEYED), "ALTER TABLE t ADD COLUMN p DOUBLE PRECISION",
         "CREATE TRIGGER hooked AFTER UPDATE OF p ON t WHEN NEW.p < 100 BEGIN UPDATE t SET p = 100 + NEW.p WHERE id = "
         "NEW.id; END"), engines=(LITE,), refused="changes the predictions"),
    Case("trigger on other rows", (*filled(columns=KEYED),
         hook("AFTER", "UPDATE t SET note = 'o' WHERE id = 39;", "WHEN (NEW.id = 3)")), engines=(POSTGRES,),
         select="SELECT x FROM t WHERE id < 9", refused="change more than the predicted column"),
    Case("trigger on other rows", (*filled(columns=KEYED), "CREATE TRIGGER hooked AFTER UPDATE ON t WHEN NEW.id = 3 "
         "BEGIN UPDATE t SET note = 'o' WHERE id = 39; END"), engines=(LITE,),
         select="SELECT x FROM t WHERE id < 9", refused="change more than the predicted column"),
    Case("trigger that adds rows", (*filled(columns=KEYED), "CREATE TRIGGER hooked AFTER UPDATE ON t WHEN NEW.id = 3 "
         "BEGIN INSERT INTO t (id, x) VALUES (100, 5); END"), engines=(LITE,), select="SELECT x FROM t WHERE id < 9",
         refused="change more than the predicted column"),
    Case("trigger that skips a row",
         (*filled(columns=KEYED), hook("BEFORE", "IF NEW.id = 3 THEN RETURN NULL; END IF;")), engines=(POSTGRES,),
         refused="changes the predictions"),
    # more kinds of tables
    Case("partitions of partitions", ("CREATE TABLE t (id INTEGER, x INTEGER, note TEXT) PARTITION BY RANGE (id)",
         "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (20) PARTITION BY LIST (note)",
         "CREATE TABLE t1a PARTITION OF t1 FOR VALUES IN ('n0')", "CREATE TABLE t1b PARTITION OF t1 DEFAULT",
         "CREATE TABLE t2 (note TEXT, x INTEGER, id INTEGER)",
         "ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (20) TO (99)", filled()[1]), engines=(POSTGRES,)),
    Case("partition with partitions", ("CREATE TABLE r (id INTEGER, x INTEGER, note TEXT, p DOUBLE PRECISION) "
         "PARTITION BY RANGE (id)",
         "CREATE TABLE t PARTITION OF r FOR VALUES FROM (0) TO (99) PARTITION BY LIST (note)",
         "CREATE TABLE t1a PARTITION OF t FOR VALUES IN ('n0')", "CREATE TABLE t1b PARTITION OF t DEFAULT",
         filled()[1]), engines=(POSTGRES,)),
    Case("rows that move to another partition", ("CREATE TABLE t (id INTEGER, x INTEGER, note TEXT, p DOUBLE PRECISION "
         "DEFAULT 0) PARTITION BY RANGE (p)", "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (-1) TO (10)",
         "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (99)", filled()[1]), engines=(POSTGRES,)),
    Case("children and grandchildren", (*filled(columns=KEYED), "CREATE TABLE c (z TEXT) INHERITS (t)",
         "CREATE TABLE cc () INHERITS (c)", "INSERT INTO c SELECT id, x + 100, note FROM t",
         "INSERT INTO cc SELECT id, x + 200, note FROM ONLY t"), engines=(POSTGRES,)),
    Case("key checked later", filled(columns="id INTEGER UNIQUE DEFERRABLE, x INTEGER, note TEXT"), engines=(POSTGRES,),
         how="partition and place"),
    Case("unique for some rows", (*filled(), "CREATE UNIQUE INDEX u ON t (id) WHERE id < 5"), engines=(POSTGRES, LITE),
         how="the row"),
    Case("key of numbers", ("CREATE TABLE t (k DOUBLE PRECISION PRIMARY KEY, x INTEGER)",
         "INSERT INTO t VALUES (0.1, 3), (0.30000000000000004, 4), (0.3, 5)")),
    Case("key of texts", ("CREATE TABLE t (k VARCHAR(9) PRIMARY KEY, x INTEGER)",
         "INSERT INTO t VALUES ('a', 3), ('A', 4), ('a ', 5)"), engines=(DUCK, LITE, POSTGRES)),
    Case("key of bytes", ("CREATE TABLE t (k VARBINARY(9) PRIMARY KEY, x INTEGER)",
         "INSERT INTO t VALUES (x'00', 3), (x'0000', 4), (x'ff', 5)"), engines=(MARIA,)),
    Case("key of mixed values", ("CREATE TABLE t (k PRIMARY KEY NOT NULL, x INTEGER)",
         "INSERT INTO t VALUES (1, 3), ('1', 4), (x'31', 5), (1.5, 6)"), engines=(LITE,)),
    Case("unique in another collation", ("CREATE TABLE t (k TEXT COLLATE NOCASE NOT NULL, x INTEGER)",
         "CREATE UNIQUE INDEX u ON t (k COLLATE BINARY)", "INSERT INTO t VALUES ('a', 3), ('A', 3), ('b', 4)"),
         engines=(LITE,)),
    Case("system-versioned", filled(columns=KEYED, tail=" WITH SYSTEM VERSIONING"), engines=(MARIA,),
         refused="t can have no more columns: it is system-versioned"),
    Case("system-versioned, existing column", filled(columns=f"{KEYED}, p DOUBLE", tail=" WITH SYSTEM VERSIONING"),
         engines=(MARIA,)),
    Case("an invisible column", filled(columns=f"{KEYED}, h INTEGER INVISIBLE DEFAULT 3"), engines=(MARIA,)),
    Case("an index that forbids it", (*filled(columns=KEYED), "ALTER TABLE t ADD COLUMN p DOUBLE PRECISION",
         "CREATE UNIQUE INDEX up ON t (p)"), refused="(?i)unique|duplicate"),
    Case("a constraint that forbids it", (*filled(columns=KEYED),
         "ALTER TABLE t ADD COLUMN p DOUBLE PRECISION CHECK (p < 10)"), engines=(POSTGRES, MARIA, LITE),
         refused="(?i)constraint"),
    *[Case(f"a name with {sign}", filled(f'"a{sign}b"', KEYED), select=f'SELECT x FROM "a{sign}b"',
           target=f'"a{sign}b"."c{sign}d"', table=f'"a{sign}b"', column=f'"c{sign}d"')
      for sign in (".", "'", "%s", "{0}", ":c", "\\")],
    Case("a key with odd names", ('CREATE TABLE t ("k{0} %s" INTEGER PRIMARY KEY, x INTEGER, "é\'" VARCHAR(9))',
         "INSERT INTO t VALUES (1, 2, 'a'), (2, 3, 'b')")),
    # more kinds of queries
    Case("a comment before FROM", filled(columns=KEYED), select="SELECT x -- FROM u\n FROM t"),
    Case("a comma before FROM", filled(columns=KEYED), select="SELECT x, -- all\n FROM t", engines=(DUCK,)),
    Case("FROM in an expression", filled(columns=KEYED), engines=(DUCK, POSTGRES, MARIA),
         select="SELECT x, EXTRACT(YEAR FROM CURRENT_DATE) AS e, ' FROM ' AS f FROM t"),
    Case("swapped aliases", (*filled(columns=KEYED), *filled("o")), where="id < 9",
         select="SELECT o.x FROM t AS o JOIN o AS t ON o.id = t.id WHERE t.id < 9"),
    Case("with itself", filled(columns=KEYED), select="SELECT t.x FROM t JOIN t AS u ON u.id = t.id",
         refused="cannot tell which rows"),
    Case("some of them in order", filled(columns=KEYED), select="SELECT x FROM t ORDER BY id DESC LIMIT 10 OFFSET 5",
         where="id BETWEEN 25 AND 34"),
    Case("a union", filled(columns=KEYED), refused="cannot tell which rows",
         select="SELECT x FROM t WHERE id < 5 UNION ALL SELECT x FROM t WHERE id >= 5"),
    Case("a view of it", (*filled(columns=KEYED), "CREATE VIEW v AS SELECT * FROM t"), select="SELECT x FROM v",
         refused="not the table selected from"),
    Case("several rows of one", filled(columns=KEYED), select="SELECT x, generate_series(1, 2) AS g FROM t",
         engines=(POSTGRES,), refused="only 40 different rows"),
    Case("several rows of one", filled(columns=KEYED), select="SELECT x, unnest([1, 2]) AS g FROM t", engines=(DUCK,),
         refused="only 40 different rows"),
    Case("an aggregate of the user", (*filled(columns=KEYED), "DROP FUNCTION IF EXISTS zz",
         "CREATE AGGREGATE FUNCTION zz(a INT) RETURNS INT BEGIN DECLARE s INT DEFAULT 0; DECLARE CONTINUE HANDLER FOR "
         "NOT FOUND RETURN s; LOOP FETCH GROUP NEXT ROW; SET s = s + a; END LOOP; END"), engines=(MARIA,),
         select="SELECT zz(x) AS x FROM t", refused="cannot tell which rows of t"),
    Case("a function of the user", (*filled(columns=KEYED), "DROP FUNCTION IF EXISTS yy",
         "CREATE FUNCTION yy(a INT) RETURNS INT DETERMINISTIC RETURN a"), engines=(MARIA,),
         select="SELECT yy(x) AS x FROM t"),
    Case("FOR UPDATE", filled(columns=KEYED), select="SELECT x FROM t FOR UPDATE", engines=(POSTGRES, MARIA)),
    Case("temporary, not first in the path", ("CREATE SCHEMA s2", *filled("s2.t"), *filled(),
         "CREATE TEMP TABLE t AS SELECT id, x + 100 AS x, note FROM public.t", "SET search_path = s2, pg_temp, public"),
         engines=(POSTGRES,), table="s2.t"),
    Case("temporary, by its full name", (*filled(), "CREATE TEMP TABLE t AS SELECT id, x + 9 AS x, note FROM public.t"),
         select="SELECT x FROM pg_temp.t", engines=(POSTGRES,), table="pg_temp.t"),
    Case("temporary hides, other target", (*filled(),
         "CREATE TEMP TABLE t AS SELECT id, x + 9 AS x, note FROM public.t"), target="public.t.p", table="public.t",
         engines=(POSTGRES,), refused="not the table selected from"),
    Case("database in use", ("ATTACH ':memory:' AS a", "CREATE SCHEMA a.b", *filled("a.b.t"), *filled(), "USE a.b"),
         table="a.b.t", engines=(DUCK,)),
]  # fmt: skip


@pytest.fixture(params=[engine for engine in ENGINES if engine != "sqlite-memory"])
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Session]:
    with Session(url_of(request.param, tmp_path, request), str(tmp_path / "models")) as session:
        yield session


def fresh(session: Session, url: str, models: str) -> Session:
    """A session on a database without tables."""
    if session.dialect == POSTGRES:
        session.engine.main.run(
            "DROP SCHEMA IF EXISTS s2, public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC"
        )
    elif session.dialect == MARIA:
        for name in ("s2", "test"):
            session.engine.main.run(f"DROP DATABASE IF EXISTS {name}")
        session.engine.main.run("CREATE DATABASE test")
        session.engine.main.run("USE test")
    return Session(url, models)


def state(session: Session, table: str, left_out: str, where: str = "1 = 1") -> tuple[list[str], list[str]]:
    """The table's other columns, and its rows in them."""
    quoted = table.replace('"', session.engine.quote("x")[0])
    own = left_out.strip('"').lower()
    names = [name for name in session.engine.describe(f"SELECT * FROM {quoted}").names if name.lower() != own]
    columns = ", ".join(session.engine.quote(name) for name in names)
    found = session.engine.rows(f"SELECT {columns} FROM {quoted} WHERE {where}")
    return names, sorted(map(repr, found))


def predict(session: Session, case: Case) -> None:
    quote = session.engine.quote("x")[0]
    with_replace = "WITH replace=true " if case.replace else ""
    select = case.select.replace('"', quote)
    statement = parse(f"{select} PREDICT {case.target} {with_replace}USING lin", session.dialect)[0]
    assert isinstance(statement, Predict)
    prepared = predicting.prepare(statement, Context(session.engine, session.store))
    assert case.how in prepared.target.how
    with Workplace(prepared.target) as work:
        read = work.read(prepared.columns).read_all()["x"].to_pylist()
        work.keep([[2.0 * x + 1 for x in read]])
        if case.meanwhile:
            session.engine.main.run(case.meanwhile)
        work.write()


def check(session: Session, case: Case) -> None:
    quote = session.engine.quote("x")[0]
    for statement in case.setup:
        session.run(statement.replace('"', quote))
    known = [name for name, place in (("o", "o"), ("kept", "kept")) if any(f" {place} " in s for s in case.setup)]
    where = case.as_before or "1 = 1"
    before = {name: state(session, name, "", where) for name in [case.table, *known]}
    others = state(session, case.table, case.column, where)
    if case.refused:
        with pytest.raises(SqlError, match=case.refused):
            predict(session, case)
        assert {name: state(session, name, "", where) for name in before} == before
    else:
        predict(session, case)
        added = where if not case.meanwhile else case.where
        assert state(session, case.table, case.column, added) == others
        assert {name: state(session, name, "") for name in known} == {name: before[name] for name in known}
        table, column = case.table.replace('"', quote), case.column.replace('"', quote)
        rows = session.engine.rows(f"SELECT x, {column} FROM {table} WHERE {case.where}")
        assert rows
        assert [float(value) for _, value in rows] == [2.0 * x + 1 for x, _ in rows]
        if case.where != "1 = 1":
            assert session.engine.rows(f"SELECT COUNT({column}) FROM {table}") == [(len(rows),)]
    left = [name for name in session.engine.tables() if "elasticdl_nb_" in name]
    assert not left


def test_an_aggregate_of_the_program_groups_rows(tmp_path: Path) -> None:
    class Total:
        total = 0

        def step(self, value: int) -> None:
            self.total += value

        def finalize(self) -> int:
            return self.total

    with Session(f"sqlite:///{tmp_path}/data.sqlite", str(tmp_path / "models")) as session:
        session.engine.main._driver.create_aggregate("zz", 1, Total)  # type: ignore[attr-defined]
        with Session(":memory:", session.store.path) as trainer:
            trainer.run("CREATE TABLE d AS SELECT i AS x, i * 2.0e0 + 1 AS y FROM range(20) r(i)")
            store_untrained(trainer, "SELECT x, y FROM d TRAIN DNNRegressor INTO lin")
        query = "SELECT zz(x) AS x FROM t"
        check(session, Case("", filled(columns=KEYED), select=query, refused="cannot tell which rows"))


def test_every_kind_of_target(session: Session, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    kind = request.node.callspec.params["session"]
    models, failed = str(tmp_path / "models"), []
    with Session(":memory:", models) as trainer:
        trainer.run("CREATE TABLE d AS SELECT i AS x, i * 2.0e0 + 1 AS first FROM range(20) r(i)")
        store_untrained(trainer, "SELECT x, first AS y FROM d TRAIN DNNRegressor INTO lin")
    for number, case in enumerate(CASES):
        if session.dialect not in case.engines:
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        with fresh(session, url_of(kind, folder, request), models) as own:
            try:
                check(own, case)
            except BaseException as error:
                failed.append(f"{case.name}: {type(error).__name__}: {error}"[:600])
    assert not failed, "\n\n".join(failed)
