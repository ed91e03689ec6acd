"""Messages and services between a job's processes, the stubs made from them, and how connections are secured.

`make protocol` writes the `*_pb2*` files.
"""

import os

# Lines about connections that were idle or ended mean nothing to users, and notebooks show them in red. gRPC reads this
# when its first channel is made.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
