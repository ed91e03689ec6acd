"""Tables whose columns are a model's inputs: what each column is, and what the model sees of it.

`featurerecord` says what a feature is, `featurejson` and `jsonfields` write and read it, and `kinds` sorts the types of
columns. SQL and jobs with a label use the same features. For the latter, `facts` counts, `choosing` decides on columns
(kept in a `tablerecord`; `continuing`: on those of an earlier training), `matching` about a model's inputs, and
`labelform` about its label. `frames` converts frames.
The Keras code that computes all this in workers is in `zoo`; nothing else here loads TensorFlow.
"""
