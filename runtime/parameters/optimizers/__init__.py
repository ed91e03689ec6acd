"""How a gradient changes a value: gradients are applied here, to dense variables and to rows.

`updates` has the compiled loops, `rules` maps Keras' optimizers onto them, `schedules` evaluates their learning rates,
`clipping` is what happens before an update, and `generic` applies the user's own Keras optimizer where there is no
compiled rule. Where values are kept belongs in `parameters.rows`; which gradients count belongs in `parameters.store`.
"""
