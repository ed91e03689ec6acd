"""What a model trained in SQL consists of in a worker: Keras code.

`sqlmodel` is the model contract of such a model, `tableinput` the input made of its columns, `tablelayers` the
layers on top of that, `fittedmetrics` its metrics, and `attributions` its integrated gradients. All of this loads
TensorFlow, and only the zoos that `sql.models.zoofolder` writes import it. Of the other folders of `elasticdl_nb.sql`,
it uses only `record`, so workers need no database library. The values of columns come from `elasticdl_nb.tables.zoo`.
"""
