"""The server that speaks SQLFlow's gRPC service, `sql.protocol`.

`service` answers calls, `programs` runs the statements that they bring in sessions of their own, and `encoding` makes
SQLFlow's messages of results. What statements mean is the session's business.
"""
