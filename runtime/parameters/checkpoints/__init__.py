"""The files of parameters: what one server writes, and how others read it.

`snapshot` is the format of one server's file, `repartition` hands files to another number of servers, `local` reads and
writes those of jobs without servers. Which directories of checkpoints are complete, and which is the newest, is decided
in `runtime.storage.checkpoints`.
"""
