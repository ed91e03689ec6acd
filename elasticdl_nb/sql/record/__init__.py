"""What is kept with a model trained in SQL: plain typed values, and how they are written to JSON and read.

`modelrecord` is the record, and `recordjson` writes and reads it. Features in it are those of `elasticdl_nb.tables`.
The client writes a record and workers read it, so this folder uses only the standard library, features and the error
classes: no database, no TensorFlow, and no other folder of `elasticdl_nb.sql`.
"""
