"""What a model trained in SQL consists of in a worker: Keras code.

`sqlmodel` is the model contract of such a model, `tableinput` the preprocessing of its columns, `tablelayers` the
layers on top of it, `fittedmetrics` its metrics, `attributions` integrated gradients. All of this loads TensorFlow, and
only the zoos that `sql.models.zoofolder` writes import it. Of the other rooms of `elasticdl_nb.sql` it uses `record`
alone, so that workers need no database library.
"""
