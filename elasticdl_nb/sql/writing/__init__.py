"""Writing into other people's tables: a whole result or nothing.

`targets` decides which table and column a PREDICT writes and writes them, `stepwise` does so where an engine cannot in
one transaction. What the values are belongs in `sql.verbs`.
"""
