"""What each statement does: `training`, `predicting`, `evaluating` and `explaining`.

Each checks a statement, says what it is going to do, and does it; `explainers` and `shapley` compute explanations.
How a result is written into a table belongs in `sql.writing`, in which order statements run in `sql.execution`.
"""
