"""From a definition to a live model in a worker: this loads TensorFlow and runs the user's code.

`modules` imports the zoo, and `loader` finds the parts and makes a `LoadedModel`. `calls` and `parts` call them the way
they expect, `inputs`, `features` and `unlabelled` feed them, `metrics` and `customreader` adapt metrics and readers.
Whatever can be known without running user code belongs in `model.reading`.
"""
