"""Parameter servers: the processes, and the messages between them and workers.

`process` runs a server from start to end and `server` answers requests; `client` addresses several servers as if they
were one, over `transport`, in the messages of `requests` and `wire`, encrypted by `security`; `writer` saves
checkpoints in the background. `inprocess` is a server without a socket, for jobs of one worker, whose work is spread
over the cores by `spreading`. What the numbers are
and how they change belongs in `runtime.parameters`.
"""
