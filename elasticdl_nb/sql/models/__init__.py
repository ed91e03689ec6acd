"""The models of SQL statements: found by name, written as a zoo, and stored under a name.

`finding` finds the class that a statement names, `attributes` reads its WITH clause, `metrics` its metrics, `code`
writes the model's zoo, `store` keeps trained models. What becomes of a model's columns belongs in `sql.features`.
"""
