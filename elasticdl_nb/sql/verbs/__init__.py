"""What TRAIN, PREDICT, EVALUATE and EXPLAIN do: `prepare` checks a statement, `run` does what it asks for.

Both take the `context` of the statement. A verb is made of what the rooms below have; what two verbs need belongs
there, for no verb imports another. `explainers` are the ways to say what a column is worth.
"""
