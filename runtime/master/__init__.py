"""The master: decides what each worker does next, and tells whoever watches how the job is doing.

The decisions are plain objects without threads, sockets, files or clocks, in `decisions`. Here is what surrounds them:
`process` (what is heard from processes, clients, the platform and the clock), `service` (gRPC), `bookkeeper` (what is
decided is written down before others know), `journal` and `entries` (what a master that is started again reads),
`executor` (processes and checkpoints), `counting` (the data), `clients` (does anyone still wait?), `report` and
`dashboard` (what people see). No TensorFlow here.
"""
