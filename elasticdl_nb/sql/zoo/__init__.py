"""What a model trained in SQL consists of, in the worker: features, metrics and attributions as Keras code.

`trained` is the model contract of such a model, `features` the layers and preprocessing of its columns, `metrics` its
metrics, `attributions` integrated gradients. This loads TensorFlow, and is imported by the zoo that `sql.models.code`
writes; nothing else in `elasticdl_nb.sql` may import it.
"""
