"""What a model's source reveals without importing it: no TensorFlow, no Keras, and no user code is run.

`source` parses a zoo, `static` checks a definition, `shapes` finds constructor arguments, `requirements` checks the
packages it needs, and `keras_names` lists Keras' names of losses, metrics and optimizers. Clients import this freely.
"""
