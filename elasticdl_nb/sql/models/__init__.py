"""The models of SQL statements: found by name, written as a zoo, kept in a store, and asked for predictions.

`finding` finds the class that a statement names, `attributes` reads the WITH clause, and `metricnames` the metrics in
it. `zoofolder` writes the model's zoo, `store` keeps trained models, `asking` starts the jobs that use one, and
`outputs` says what its outputs mean. Nothing here knows a database. How columns become a model's input belongs in
`sql.features`.
"""
