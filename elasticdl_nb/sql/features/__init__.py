"""From a query's columns to a model's inputs, and back from a trained model to the columns it needs.

`selection` is a query with the kinds of its columns (`kinds`), `statistics` asks the database about them. For TRAIN,
`columnfunctions` compiles COLUMN clauses to drafts of features and `drafts` derives them where there are none;
`choosing` decides on them and finishes them (`finishing`), `label` finds the label; `inputs` is what comes out. For
trained models `matching` says which columns a query has to have. How workers carry features out belongs in `sql.zoo`.
"""
