"""Plain SQL stays plain, whatever its tables are called; a clause is found behind any query."""

from __future__ import annotations

import pytest

from elasticdl_nb.sql.language.parser import parse
from elasticdl_nb.sql.language.statements import Query, Train

PLAIN = [
    "SELECT * FROM train",
    "SELECT * FROM employee TRAIN",
    "SELECT * FROM employee train WHERE train.x > 1",
    "SELECT train.x, predict.y FROM train, predict",
    "SELECT train.train FROM train train",
    "SELECT a AS train, b AS predict, c AS explain FROM t",
    "SELECT a train, b predict, c evaluate FROM t",
    "SELECT train FROM t",
    "SELECT train, predict FROM t ORDER BY train, predict",
    "SELECT train INTO t2 FROM t",
    "SELECT count(*) FROM t GROUP BY train HAVING train > 1 ORDER BY predict LIMIT 3",
    "SELECT * FROM a train JOIN b predict ON train.id = predict.id",
    "SELECT * FROM a train LEFT JOIN b USING (id)",
    "SELECT * FROM train CROSS JOIN predict",
    "SELECT * FROM train NATURAL JOIN explain",
    "SELECT * FROM a JOIN train USING (id)",
    "SELECT * FROM t, explain m",
    "SELECT * FROM (SELECT 1 AS x TRAIN) AS train",
    "SELECT * FROM t WHERE x IN (SELECT y FROM u train)",
    "SELECT 'a TO TRAIN m INTO n'",
    "SELECT 'it''s TO TRAIN m INTO n'",
    'SELECT "x TO TRAIN m INTO n" FROM t',
    "SELECT 1 -- TO TRAIN m INTO n",
    "SELECT 1 /* TO TRAIN m INTO n */",
    "SELECT 1 /* a /* nested */ TO TRAIN m INTO n */",
    "SELECT $$x TO TRAIN m INTO n$$",
    "SELECT $tag$ $$ ' TO TRAIN m INTO n $tag$",
    "SELECT E'it\\'s TO TRAIN m INTO n'",
    "SELECT [1, 2, 3][1:2], {'train': predict} FROM t",
    "SELECT INTERVAL '1' YEAR TO MONTH",
    "EXPLAIN SELECT * FROM t",
    "EXPLAIN ANALYZE SELECT * FROM train",
    "ANALYZE t",
    "ANALYZE",
    "ALTER TABLE t RENAME TO train",
    "ALTER TABLE t RENAME COLUMN a TO predict",
    "GRANT SELECT ON t TO train",
    "GRANT ALL ON explain TO evaluate WITH GRANT OPTION",
    "COPY (SELECT * FROM train) TO 'train.csv' (FORMAT csv)",
    "COPY train TO 'x.parquet'",
    "CREATE TABLE train (predict INT, explain TEXT)",
    "CREATE TABLE x AS SELECT * FROM train",
    "CREATE VIEW predict AS SELECT a train FROM b",
    "INSERT INTO train SELECT * FROM predict",
    "INSERT INTO t VALUES (1, 'TRAIN x INTO y')",
    "UPDATE train SET predict = 1 WHERE explain = 2",
    "DELETE FROM train WHERE predict IS NULL",
    "DROP TABLE train",
    "DROP TABLE IF EXISTS model",
    "WITH train AS (SELECT 1 AS x) SELECT * FROM train",
    "WITH t AS (SELECT 1), predict AS (SELECT 2) SELECT * FROM t, predict",
    "SELECT * FROM train UNION ALL SELECT * FROM predict",
    "(SELECT a train FROM t) UNION (SELECT b FROM u)",
    "SELECT a FROM t ORDER BY 1 LIMIT 5 OFFSET 2",
    "VALUES (1, 'train')",
    "FROM train",
    "FROM train SELECT predict",
    "TABLE train",
    "PRAGMA table_info('train')",
    "SET search_path TO train",
    "SUMMARIZE train",
    "PIVOT t ON train USING sum(x)",
    "SELECT a::int AS train FROM t",
    "SELECT CASE WHEN a THEN 1 ELSE 2 END train FROM t",
    "SELECT sum(x) OVER (PARTITION BY train ORDER BY predict) FROM t",
    "SELECT * FROM read_csv('train.csv')",
    "SELECT * FROM t -- train",
    "selec t TRAIN x",
    "BEGIN",
    "COMMIT",
]

QUERIES = [
    "SELECT * FROM t",
    "SELECT a, b AS train FROM t",
    "SELECT * FROM train",
    "SELECT * FROM train train",
    "SELECT * FROM a train JOIN b predict ON train.id = predict.id",
    "SELECT * FROM t WHERE name = 'TO TRAIN x INTO y'",
    "SELECT * FROM t WHERE x > 1 AND y IN (1, 2) OR z IS NOT NULL",
    "SELECT * FROM t WHERE x IN (SELECT y FROM train)",
    "SELECT a, count(*) FROM t GROUP BY a HAVING count(*) > 1",
    "SELECT * FROM t ORDER BY a DESC NULLS LAST",
    "SELECT * FROM t ORDER BY train",
    "SELECT * FROM t LIMIT 10",
    "SELECT * FROM t LIMIT 10 OFFSET 5",
    "SELECT * FROM t USING SAMPLE 10%",
    "SELECT * FROM (SELECT * FROM train) AS predict",
    "SELECT * FROM (SELECT * FROM train)",
    "WITH train AS (SELECT 1 AS x, 2 AS y) SELECT * FROM train",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT * FROM r",
    "SELECT 1 AS x UNION ALL SELECT 2",
    "(SELECT 1 AS x) UNION (SELECT 2) EXCEPT SELECT 3",
    "FROM t",
    "FROM t SELECT a, b",
    "VALUES (1, 2), (3, 4)",
    "SELECT * EXCLUDE (a) REPLACE (b * 2 AS b) FROM t",
    "SELECT COLUMNS('x.*') FROM t",
    "SELECT a FROM t QUALIFY row_number() OVER (PARTITION BY a ORDER BY b) = 1",
    "SELECT CASE WHEN a THEN 1 ELSE 2 END FROM t",
    "SELECT CAST(a AS DECIMAL(10, 2)), b::DATE, c[1], d['k'] FROM t",
    "SELECT * FROM 'data/*.parquet'",
    "SELECT * FROM read_csv('x.csv', header = true)",
    "SELECT * FROM a.b.c",
    'SELECT "a b", "c ""d""" FROM "my table"',
    "SELECT 'x' || $$it's$$ FROM t",
    "SELECT * FROM t WHERE a > :low AND b < :high",
    "SELECT * FROM t -- all of it\n",
    "SELECT /* TRAIN */ a FROM t",
    "SELECT * FROM t1, t2, train",
    "SELECT * FROM t1 LEFT JOIN t2 USING (id)",
    "SELECT 名前, größe FROM 表 WHERE 名前 = '値'",
    "SELECT\n  a\nFROM\n  t\nWHERE\n  a IS NOT NULL\n",
    "SELECT a FROM t WHERE b BETWEEN 1 AND 2 AND c LIKE 'x%' ESCAPE '\\'",
    "SELECT extract(year FROM d), date_trunc('month', d), INTERVAL 1 DAY FROM t",
]


@pytest.mark.parametrize("text", PLAIN)
def test_plain_sql_stays_plain(text: str) -> None:
    statements = parse(text)
    assert [type(statement) for statement in statements] == [Query]
    assert text.startswith(statements[0].text)


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("to", ["", "TO "])
def test_a_clause_is_found_behind_any_query(query: str, to: str) -> None:
    for verb in ("TRAIN m WITH x=1 INTO y", "PREDICT t.c USING m", "EVALUATE m", "EXPLAIN m INTO z"):
        first, second = parse(f"{query} {to}{verb}; SELECT 2")
        assert first.select == query.split(" --")[0].strip()  # type: ignore[attr-defined]
        assert second.text == "SELECT 2"


@pytest.mark.parametrize(
    ("dialect", "query"),
    [
        ("mysql", "SELECT `a b`, \"it\\\"s TO TRAIN x INTO y\" FROM t WHERE c = 'it\\'s' # TO TRAIN x INTO y\n"),
        ("mysql", "SELECT 1--1 AS x"),
        ("mariadb", "SELECT SQL_NO_CACHE * FROM `db`.`t` STRAIGHT_JOIN u"),
        ("postgresql", "SELECT DISTINCT ON (a) a, b->>'k' FROM t WHERE c ~ '^x' AND d @> ARRAY[1]"),
        ("postgres", "SELECT E'it\\'s', $a$ TO TRAIN x INTO y $a$ FROM t FOR UPDATE"),
        ("sqlite", 'SELECT [a TO TRAIN x INTO y], `b`, "c" FROM t'),
        ("sqlite", "SELECT 'a\\' AS x FROM t"),
        ("tsql", "SELECT TOP 10 [a b] FROM dbo.t WITH (NOLOCK)"),
        ("hive", "SELECT `a`, 'it\\'s' FROM db.t LATERAL VIEW explode(x) e AS f"),
        ("oracle", "SELECT * FROM t FETCH FIRST 5 ROWS ONLY"),
        ("no such dialect", "SELECT a FROM t"),
    ],
)
def test_dialects_have_their_own_quotes_and_comments(dialect: str, query: str) -> None:
    (statement,) = parse(f"{query} TRAIN m INTO y", dialect)
    assert isinstance(statement, Train)
    (statement,) = parse(query, dialect)
    assert isinstance(statement, Query)


def test_bodies_of_triggers_and_procedures_are_kept_whole() -> None:
    block = "BEGIN NOT ATOMIC IF 1 THEN SELECT CASE WHEN 1 THEN 2 END; END IF; SELECT 3; END"
    assert [item.text for item in parse(f"{block}; SELECT 4", "mysql")] == [block, "SELECT 4"]
    trigger = "CREATE TRIGGER x AFTER INSERT ON t BEGIN UPDATE a SET b = CASE WHEN c THEN 1 END; DELETE FROM d; END"
    procedure = (
        "CREATE PROCEDURE p() BEGIN IF a THEN SELECT 1; END IF; BEGIN SELECT 2; END; CASE x WHEN 1 THEN SELECT 3; "
        "END CASE; WHILE a DO SET b = 1; END WHILE; END"
    )
    for dialect, text in (("sqlite", trigger), ("mysql", procedure)):
        assert [one.text for one in parse(f"{text}; SELECT 2", dialect)] == [text, "SELECT 2"]
    assert len(parse("CREATE TABLE trigger (begin INT); SELECT 1; BEGIN; SELECT 2; END")) == 5


@pytest.mark.parametrize(
    ("dialect", "query"),
    [
        ("bigquery", "SELECT r'it\\'s TO TRAIN m INTO n', R\"it's TO TRAIN m INTO n\" FROM t"),
        ("bigquery", "SELECT R'''it's \\n TO TRAIN m INTO n''' AS x FROM t"),
        ("bigquery", 'SELECT """it\'s "quoted" TO TRAIN m INTO n""" AS x FROM t'),
        ("bigquery", 'SELECT rb"""x"y TRAIN m INTO n""", b\'x\' FROM t'),
        ("bigquery", "SELECT 1 --it's TO TRAIN m INTO n\nFROM t # it's\n"),
        ("oracle", "SELECT q'[it's TO TRAIN m INTO n]' FROM dual"),
        ("oracle", "SELECT nq'{it's}', Q'!a'b TRAIN x INTO y!', q'<x'y>', q'(a'b)', 'q' FROM dual"),
        ("oracle", "SELECT /* a /* b */ 1 FROM dual"),
        ("databricks", "SELECT r'\\' AS x, 'a TO TRAIN m INTO n' FROM t"),
        ("snowflake", "SELECT 'it\\'s TO TRAIN m INTO n', $$it's TO TRAIN m INTO n$$, \"a b\" FROM t"),
        ("snowflake", "SELECT 1 // it's TO TRAIN m INTO n\nFROM t"),
        ("clickhouse", "SELECT 'it\\'s TO TRAIN m INTO n', \"a b\", $h$it's$h$ FROM t # it's\n"),
        ("trino", "SELECT U&'it''s \\0041 TO TRAIN m INTO n' FROM t"),
        ("redshift", "SELECT $$it's TO TRAIN m INTO n$$ FROM t"),
        ("doris", "SELECT 'it\\'s TO TRAIN m INTO n' FROM t"),
        ("tsql", "SELECT N'it''s TO TRAIN m INTO n' FROM [a b]"),
    ],
)
def test_strings_and_comments_of_other_dialects_are_no_clauses(dialect: str, query: str) -> None:
    assert [type(one) for one in parse(query, dialect)] == [Query]
    (statement,) = parse(f"{query}\nTO TRAIN m INTO y", dialect)
    assert isinstance(statement, Train)
    assert statement.into.text == "y"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT train INTO OUTFILE '/tmp/x' FROM t",
        "SELECT a, train INTO OUTFILE '/tmp/x' FIELDS TERMINATED BY ',' FROM t",
        "SELECT a FROM t train INTO OUTFILE '/tmp/x'",
        "SELECT a FROM t predict INTO DUMPFILE '/tmp/x'",
        "SELECT train INTO @v FROM t",
        "SELECT a, train INTO @v, @w FROM t",
    ],
)
def test_rows_that_go_to_a_file_or_variable_are_plain_sql(query: str) -> None:
    assert [type(one) for one in parse(query, "mysql")] == [Query]
