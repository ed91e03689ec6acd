"""Writing the results of a statement into the database: all of them, or nothing.

`targets` finds out where predictions go and whether they may, `keyedquery` which rows of a table a query's rows are,
`workplace` keeps rows and predictions in temporary tables and brings them over, `stepwise` changes tables where that is
no part of a transaction, `resulttable` writes the table of INTO. What the values are is decided elsewhere.
"""
