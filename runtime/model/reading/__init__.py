"""What can be said of a model from its source, without importing it: no TensorFlow, no Keras, no user code run.

`source` parses a zoo, `static` checks a definition, `shapes` finds constructor arguments, `requirements` the packages
it needs, `keras_names` lists the names that Keras gives to losses, metrics and optimizers. Clients import this freely.
"""
