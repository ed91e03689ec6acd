"""Tables whose columns are a model's inputs: what each column is, and what the model sees of it.

`featurerecord` says what a feature is, `featurejson` and `jsonfields` write and read it, and `kinds` sorts the types of
columns. SQL and frames use the same features. The Keras code that computes them in workers is in `zoo`; nothing else
here loads TensorFlow.
"""
