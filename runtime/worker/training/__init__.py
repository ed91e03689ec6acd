"""How a worker trains, one way for each strategy: `local`, `tables`, `servers` and `ring`.

`choosing` picks the one of the job; `base` holds what all of them have in common. The rest are their parts:
`rows` and `servercheckpoint` for tables, `ring_step`, `exchange` and `slices` for the ring, `callbacks` for Keras'
callbacks. What is the same for evaluation and prediction stays in `runtime.worker`.
"""
