"""Everything a master decides, as plain objects: no threads, sockets, files or clocks.

An event goes in, with the time it happened, and actions come out. `coordinator` ties the parts together: `taskqueue`
knows which records are still to be used and takes back the tasks of the dead, `membership` who is alive, `crew` which
processes to start, `evaluations` when to evaluate, `stragglers` which task is worth giving out twice, `picture` what
people are shown. `server_coordinator` (with `server_group` and `checkpoint_round`) adds parameter servers,
`ring_coordinator` (with `rendezvous`) all-reduce. What carries out an action, writes it down or serves it belongs one
floor up, in `runtime.master`.
"""
