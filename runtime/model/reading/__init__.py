"""What a model's source reveals without importing it: no TensorFlow, no Keras, and no user code is run.

`source` parses a zoo, `modelcheck` checks a definition, `shapes` finds constructor arguments, `requirements` checks the
packages that it needs, and `ownimports` the modules of elasticdl_nb; `keras_names` lists the names that Keras gives to
losses, metrics and optimizers. Clients import this freely.
"""
