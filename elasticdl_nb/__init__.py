"""elasticdl_nb: elastic distributed deep learning with Keras, driven from a notebook.

    import elasticdl_nb

    elasticdl_nb.train(model_zoo="zoo", model_def="flights.custom_model", data="flights/*.parquet", output="model")
    elasticdl_nb.predict(trained_model="model", data="tomorrow.csv", output="late.csv")
    elasticdl_nb.sql("SELECT name, role, salary FROM employee TRAIN regressor.DNN INTO mymodel", connect="hr.duckdb")

Importing this is cheap: each name below is loaded when it is first used, as are the public modules `callbacks`,
`capture`, `chaos`, `data` and `sql`. Jobs load TensorFlow only in their workers. docs/api.md lists every public name;
everything else, `elasticdl_nb.runtime` above all, may change at any time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elasticdl_nb import callbacks as callbacks
    from elasticdl_nb import capture as capture
    from elasticdl_nb import chaos as chaos
    from elasticdl_nb import data as data
    from elasticdl_nb import sql
    from elasticdl_nb.api import evaluate, load, predict, train
    from elasticdl_nb.job import Job, attach, jobs
    from elasticdl_nb.job.warm import warm
    from elasticdl_nb.runtime.errors import (
        DataError,
        ElasticDLError,
        ImageError,
        JobCancelled,
        JobError,
        JobFailed,
        JobNotFound,
        ModelError,
        OptionError,
    )
    from elasticdl_nb.runtime.mode import Mode
    from elasticdl_nb.runtime.model import batched
    from elasticdl_nb.runtime.model.embeddings.embedding import Embedding
    from elasticdl_nb.runtime.spec import JobSpec
    from elasticdl_nb.serving import serve
    from elasticdl_nb.sql.language.errors import SqlError

    __version__: str

__all__ = [
    "DataError",
    "ElasticDLError",
    "Embedding",
    "ImageError",
    "Job",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "JobNotFound",
    "JobSpec",
    "Mode",
    "ModelError",
    "OptionError",
    "SqlError",
    "__version__",
    "attach",
    "batched",
    "evaluate",
    "jobs",
    "load",
    "predict",
    "serve",
    "sql",
    "train",
    "warm",
]

_HOMES = {
    "api": ("evaluate", "load", "predict", "train"),
    "job": ("Job", "attach", "jobs"),
    "job.warm": ("warm",),
    "runtime.errors": (
        "DataError", "ElasticDLError", "ImageError", "JobCancelled", "JobError", "JobFailed", "JobNotFound",
        "ModelError", "OptionError",
    ),
    "runtime.mode": ("Mode",),
    "runtime.model": ("batched",),
    "runtime.model.embeddings.embedding": ("Embedding",),
    "runtime.spec": ("JobSpec",),
    "serving": ("serve",),
    "sql.language.errors": ("SqlError",),
}  # fmt: skip
# `sql` is a package that can be called.
_MODULES = ("callbacks", "capture", "chaos", "data", "sql")
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("elasticdl_nb")
    elif name in _HOME_OF:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: Any) -> None:
    """Make `%load_ext elasticdl_nb` register the magics."""
    importlib.import_module(f"{__name__}.magics").load_ipython_extension(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Undo it."""
    importlib.import_module(f"{__name__}.magics").unload_ipython_extension(shell)
