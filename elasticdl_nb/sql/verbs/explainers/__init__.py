"""EXPLAIN's explainers: ways to measure how important each column is to a model.

`explainer` is what they have in common: each says which rows the model must predict, and turns the predictions into
importances. The explainers are `permutation`, `gradients` and `shapley`; `bars` draws importances. None of them starts
a job or knows a database.
"""
