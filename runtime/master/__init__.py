"""The master: decides what each worker does next, and tells whoever watches how the job is doing.

The decisions are plain objects without threads, sockets, files or clocks: `crew` (processes come, die and end),
`coordinator` (what they do), `served` (parameter servers), and the parts they are made of. `journal` lets a master that
is started again know what the one before it knew; `service` and `process` are the shell. No TensorFlow here.
"""
