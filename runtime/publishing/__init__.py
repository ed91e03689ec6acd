"""Versions of a job's model, written while it trains, from its checkpoints.

A process of its own (`__main__`), which loads no TensorFlow and takes nothing from the training but processor time.
`version` writes a version, of which `weights` are the dense part and `tables` the rows: all of them, or those that have
changed since the version before. `spool` sorts rows on the disk. What versions are to readers belongs in
`runtime.storage.versions`, and when one is due in `runtime.master.publisher`.
"""
