"""What can be said of a model from its source, without importing it: no TensorFlow, no Keras, no user code run.

`source` parses a zoo, `static` checks a definition, `shapes` finds constructor arguments, `requirements` checks the
packages that it needs, and `ownimports` the modules of elasticdl_nb; `keras_names` lists the names that Keras gives to
losses, metrics and optimizers. Clients import this freely.
"""
