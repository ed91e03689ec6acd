"""What a model's source reveals without importing it: no TensorFlow, no Keras, and no user code is run.

`source` parses a zoo, `ownnames` finds what its modules call it, `modelcheck` checks a definition, `shapes` finds
constructor arguments, `requirements` checks the packages that it needs, and `missing` what it imports; `keras_names`
lists the names that Keras gives to losses, metrics and optimizers, and `places` names lines of code in messages.
Clients import this freely.
"""
