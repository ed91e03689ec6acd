"""What TRAIN, PREDICT, EVALUATE and EXPLAIN do: `prepare` checks a statement, and `run` carries it out.

Both take the `context` of the statement. A verb is built from the folders below this one. No verb imports another, so
code that two verbs need belongs there. `explainers` are the ways to measure how important a column is.
"""
