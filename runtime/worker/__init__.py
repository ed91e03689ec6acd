"""A worker process: takes tasks from the master, reads their records, and trains, evaluates or predicts with them.

`link` talks to the master and needs no TensorFlow; everything else here does.
"""
