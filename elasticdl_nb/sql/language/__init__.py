"""The SQL language: from text to statements, with the place of every mistake.

`lexical` splits text as databases do, `clauses` and `parser` find the clauses behind a query, `statements` are what
comes out, `errors` say where something is wrong. No database, model or job is known here.
"""
