"""The master: decides what each worker does next, and reports the job's progress to everyone who watches.

The decisions are plain objects without threads, sockets, files or clocks, in `decisions`. Here is what surrounds them:
`process` (receives events from processes, clients, the platform and the clock), `service` (gRPC), `bookkeeper` (writes
decisions down before others learn of them), `journal` and `entries` (what a restarted master reads), `executor`
(processes and checkpoints), `counting` (the data), `feeder` (a process that goes on writing it), `clients` (is anyone
still waiting?), `report` and `dashboard` (what users see). No TensorFlow here.
"""
