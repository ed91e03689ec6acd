"""The pure core of a parameter server: tables, update rules, partition, store and checkpoint files.

::

    store ── table ── index ── kernels (numba) or kernels_numpy
      │        └───── rules ── updates; or generic, the user's own Keras optimizer
      ├── partition   which server owns what
      └── snapshot    the checkpoint file of one server

Nothing here opens sockets or starts threads. A store and its tables have a single writer: all calls come from one
thread (kernels release the GIL, so other threads of the process keep running).
"""
