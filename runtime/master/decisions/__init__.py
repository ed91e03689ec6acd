"""Everything a master decides, as plain objects: no threads, sockets, files or clocks.

One of `events` goes in, with the time it happened, and `actions` come out. `coordinator` ties the parts together:
`crew` knows which processes to start, `membership` who is alive, `taskqueue` which records are still to be used (and
takes back the tasks of the dead), `training_plan` in which order, `planning` makes it, also of data that grows,
`windows` what was tested before it was learnt (and `alarms` what is wrong with that), `evaluations` when to evaluate,
`borders` when callbacks are called between epochs (`bordering` draws the consequences), `epochs` what is known of each,
`stragglers` which task is worth giving out twice, `suspects` which ones may have crashed their workers (`blame` draws
the consequences), `saved` which checkpoints there are (`saving` does the same for these), `picture` what users are
shown. `server_coordinator` (with `server_group` and `checkpoint_round`) adds parameter servers, and `ring_coordinator`
(with `rendezvous`) all-reduce; `kinds` decides which of them a job has. `clock` is the time that all of them use, and
`story` is the history that an error shows.

Each has a form in the journal: `to_message` makes a message of `journal.proto`, `load` or `from_message` reads one.
Code that carries out an action, writes something down or serves it belongs one floor up, in `runtime.master`.
"""
