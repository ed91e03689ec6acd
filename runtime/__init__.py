"""The distributed core: protocol, master, workers, data, models, checkpoints, platforms.

Nothing here knows about notebooks, image builds or SQL, and nothing here imports from above.
"""
