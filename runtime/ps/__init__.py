"""Parameter servers: the processes, and what travels between them and workers.

`process` is a server's life and `server` answers requests; `client` asks several servers as if they were one, over
`transport`, in the messages of `requests` and `wire`, encrypted by `security`; `writer` saves checkpoints in the
background. `inprocess` is a server without a socket, for jobs of one worker. What the numbers are and how they change
belongs in `runtime.parameters`.
"""
