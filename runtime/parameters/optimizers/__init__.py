"""How a gradient changes a value: this is where it is applied, to dense variables and to rows.

`updates` has the compiled loops, `rules` maps Keras' optimizers onto them, `schedules` their learning rates,
`clipping` what comes before, and `generic` applies the user's own Keras optimizer where there is no compiled rule.
Where values are kept belongs in `parameters.rows`; which gradients count belongs in `parameters.store`.
"""
