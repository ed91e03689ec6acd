"""Training, evaluating, explaining and predicting in SQL: the language, its engines and its execution."""
