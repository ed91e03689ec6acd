"""The files of parameters: what one server writes, and how others read it.

`snapshot` is the format of one server's file, `boundedframes` what it has of a table with bounds, `repartition`
distributes files over another number of servers, `local` reads and writes those of jobs without servers.
`runtime.storage.checkpoints` decides which directories of checkpoints are complete, and which is the newest.
"""
