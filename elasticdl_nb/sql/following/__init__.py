"""A training that follows a query: rows that appear in the database while the job runs.

`watermark` is the column that says which rows are new, and `bounds` decides up to where they may be taken. A process of
its own, `__main__`, which the job's master starts, reads them as `pulling` says, and writes them to `pulled` files in
the directory that the job follows. `settings` is what that process has to know. `starting` checks a statement.
"""
