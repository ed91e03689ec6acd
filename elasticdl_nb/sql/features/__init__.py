"""From a query's columns to a model's inputs, and back from a trained model to the columns it needs.

`selection` is a query with the kinds of its columns, and `statistics` asks the database about them. For
TRAIN, `columnfunctions` compiles COLUMN clauses into drafts of features, and `drafts` derives drafts where there are no
clauses. `choosing` decides which to use and finishes them (`finishing`), and `label` finds the label. `inputs` is the
result. For trained models, `matching` says which columns a query must have. How workers compute features belongs in
`tables.zoo`.
"""
