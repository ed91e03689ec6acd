"""What is kept with a model trained in SQL: plain typed values, and how they are written to JSON and read.

`modelrecord` is the record and `featurerecord` the features in it; `recordjson` and `featurejson` write and read them,
with `jsonfields` for single members.
The client writes a record and workers read it, so this folder uses only the standard library and the error classes: no
database, no TensorFlow, and no other folder of `elasticdl_nb.sql`.
"""
