"""Steps as TensorFlow's XLA compiles them, where that is faster: measured, and never at the cost of a result.

`trial` decides from the seconds that steps take, and knows neither a clock nor TensorFlow. `graphs` makes a step's
graphs, `fitness` says what a compiled step would do in another way, and `attempt` compiles one with copies of all
variables, beside training. `steps` is the thin shell that trainers call. What a step computes does not belong here.
"""
