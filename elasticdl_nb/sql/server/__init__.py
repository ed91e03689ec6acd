"""The server that speaks SQLFlow's gRPC service, `sql.protocol`.

`service` answers calls, `programs` runs their statements, each program in its own session, and `encoding` turns results
into SQLFlow's messages, `rows` the rows in them. The session decides what statements mean.
"""
