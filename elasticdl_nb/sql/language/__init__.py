"""The SQL language: from text to statements, with the place of every mistake.

`lexical` splits text as databases do, and `clauses` and `parser` find the clauses after a query. `statements` are the
result, and `errors` say where something is wrong. This folder knows nothing of databases, models or jobs.
"""
