"""Parameters as plain objects: embedding tables, dense variables, update rules, and their checkpoints.

`table`, `bounded` and `store` hold values, `arrays` names their types, `partition` decides which server holds what,
`initializers` makes the values of new rows, `means` those of several gradients, `api` is what workers call, and
`generations` carries a store through rollbacks. `optimizers` change values, `rows` finds and keeps them, `checkpoints`
writes and reads them, and `mapped` has the tables of trained models. Nothing here opens a socket or starts a thread:
that is the job of `runtime.ps`. Keras is loaded only in `optimizers.generic`.
"""
