"""Records from files: codecs, readers, cutting into tasks, conversion between formats.

`reader` opens files of any format: `recordio` and `tfrecord` hold bytes, `columnar` and `csvfiles` columns, which
`tablereader` reads and `columntypes` gives the types that models see; `bytescan` has the compiled loops. `tasks` cuts
records into ranges. `discovery` finds the files that appear while a job runs, and `following` reads them. `writers` and
`shards` write, and `convert` does both. Only `tensors`, which feeds records to TensorFlow, imports it. Opening what a
job's options name belongs in `elasticdl_nb.given`.
"""
