"""The master: decides what each worker does next, and tells whoever watches how the job is doing.

The decisions (`taskqueue`, `evaluations`, `membership`, `picture`, `coordinator`) are plain objects without threads,
sockets, files or clocks; `service` and `process` are the thin shell around them. No TensorFlow here.
"""
