"""Steps as TensorFlow's XLA compiles them, or several in one call, where that is faster, with the same results.

`trial` decides from the seconds that steps take, and knows neither a clock nor TensorFlow. `graphs` makes a step's
graphs, `fitness` says what a compiled step would do in another way, and `attempt` compiles one with copies of all
variables, beside training. `several` makes steps in one call, and `number` decides how many, like `trial` from seconds
alone. `steps` is the thin shell that trainers call. What a step computes does not belong here.
"""
