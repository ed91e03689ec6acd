"""The iris flowers as the guide has them: a CSV file with a header and the varieties' names."""

from __future__ import annotations

from pathlib import Path

from sklearn.datasets import load_iris

COLUMNS = ["sepal.length", "sepal.width", "petal.length", "petal.width", "variety"]
NAMES = ("Setosa", "Versicolor", "Virginica")
READER = "columns=['sepal.length', 'sepal.width', 'petal.length', 'petal.width', 'variety']; sep=','"


def write_iris(path: Path, *, header: bool = True, names: bool = True) -> None:
    """Write the 150 flowers."""
    iris = load_iris()
    rows = [",".join(f'"{name}"' for name in COLUMNS)] if header else []
    rows += [
        ",".join([*map(str, row), f'"{NAMES[label]}"' if names else str(label)])
        for row, label in zip(iris.data, iris.target, strict=True)
    ]
    path.write_text("\n".join(rows) + "\n")
