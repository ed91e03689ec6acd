"""Ways to say what each column is worth to a model: EXPLAIN's explainers.

`explainer` is what they have in common: each says which rows the model has to predict, and makes importances of the
predictions. `permutation`, `gradients` and `shapley` are the ways there are, `bars` draws importances. None starts a
job or knows a database.
"""
