"""Messages and services between the processes of a job, and the stubs made from them.

`make protocol` writes the `*_pb2*` files; nothing else belongs here.
"""
