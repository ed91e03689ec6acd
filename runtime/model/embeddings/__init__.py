"""Embedding layers whose rows are kept outside the model: finding, replacing and training them.

`served` takes over large Keras layers, `served_step` is the training step that takes rows and returns their gradients,
and `embedding` is `elasticdl_nb.Embedding`. The tables that keep the rows belong in `runtime.parameters`.
"""
