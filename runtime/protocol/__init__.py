"""Messages and services between a job's processes, the stubs made from them, and how connections are secured.

`make protocol` writes the `*_pb2*` files.
"""
