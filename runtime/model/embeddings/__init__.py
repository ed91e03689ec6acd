"""Embedding layers whose rows are kept outside the model: found, replaced and stepped.

`served` takes over large Keras layers, `served_step` is the training step that fetches and returns rows, `embedding` is
`elasticdl_nb.Embedding`. Where the rows are kept belongs in `runtime.parameters`.
"""
