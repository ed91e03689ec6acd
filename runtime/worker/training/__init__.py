"""How a worker trains, one way for each strategy.

`choosing` picks the one of the job, and nothing else asks which it is. `strategies` says what each means between steps:
when the model is built, when a checkpoint is due (`saving`), with which servers (`connecting`), what an idle worker
does. Trainers make the steps: `base` has what all of them share, `whole` what those share that have the whole model;
then `local`, `tables`, `servers` and `ring`. The rest are their parts: `rows` and `servercheckpoint` for tables,
`ring_step`, `exchange` and `slices` for the ring, `callbacks` for Keras' callbacks.
"""
