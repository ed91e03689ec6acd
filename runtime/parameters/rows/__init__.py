"""The memory of embedding tables: from ids to rows, and the compiled loops over rows.

`index` maps ids to rows, `counters` counts ids that have none, `recency` knows which rows leave next, `memory` grows
arrays without copying them, `kernels` are the loops (`kernels_numpy` where numba is missing), `freeze` shows the rows
at one instant while others change. What an optimizer does to a row belongs in `parameters.optimizers`.
"""
