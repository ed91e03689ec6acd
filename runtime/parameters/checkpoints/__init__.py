"""The files of parameters: what one server writes, and how others read it.

`snapshot` is the format of a server's file, `chain` reads a whole one and the deltas after it as one, `deltas` decides
which comes next, and `compacting` makes one file of a chain. `boundedframes` is what a file has of a table with bounds,
`repartition` spreads files over another number of servers, and `local` reads those of jobs without servers.
`runtime.storage.checkpoints` decides which directories of checkpoints are complete, and which is the newest.
"""
