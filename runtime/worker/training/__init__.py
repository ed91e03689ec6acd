"""How a worker trains, one way for each strategy.

`choosing` picks the strategy of the job, and nothing else asks which it is. `strategies` defines what each means
between steps: when the model is built, when a checkpoint is due (`saving`), which servers to use (`connecting`), what
an idle worker does. Trainers make the steps: `base` has what all of them share, `whole` what the trainers with the
whole model share; then there are `local`, `tables`, `servers` and `ring`. The rest are their parts: `rows`, `ahead` and
`servercheckpoint` for tables, `ring_step`, `exchange`, `hurrying` and `slices` for the ring, `own_step` and `applying`
for steps in it that models make themselves, `callbacks` for Keras' callbacks (`callbackstate` keeps what they remember,
`callbackchecks` refuses some), `decaying` for learning rates that end, `epochs` for a worker's share of an epoch,
`prequential` for tests of batches before they are learnt, and `misfits` for what a strategy cannot do.
"""
