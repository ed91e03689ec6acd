"""Writes the results of a statement into the database: all of them, or none.

`targets` finds out where predictions go and whether they may go there. `keyedquery` finds out which rows of a table a
query returns. `workplace` keeps rows and predictions in temporary tables, and writes the target from them. `checking`
has the queries that check what it wrote. `stepwise` changes tables in databases that cannot do so in a transaction.
`resulttable` writes the table of INTO. The values themselves are computed elsewhere.
"""
