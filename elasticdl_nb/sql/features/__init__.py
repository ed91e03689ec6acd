"""From a query's columns to a model's inputs.

`columns` compiles COLUMN clauses, `drafts` derives features where there are none and finishes them, `statistics` asks
the database for what they need. The layers that carry them out in a worker belong in `sql.zoo`.
"""
