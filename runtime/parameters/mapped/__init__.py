"""Tables of trained models as files that are mapped into memory, so that they may be larger than it.

`form` says what the files are, `search` finds ids in them, `writing` makes them of a server's rows, and `reading` looks
rows up. Nothing here changes a row: rows that are trained belong in `parameters.table`.
"""
