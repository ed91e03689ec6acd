"""What a server of predictions does with a model that was trained in SQL: it takes rows, and gives values."""

import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.sql.record.meaning import decoder, value_kind


class Rows:
    """The rows of one model: `columns` has the kinds of the columns that it reads, in the order of the query."""

    def __init__(self, record, prepared):
        wanted = record.columns()
        self.columns = {name: kind for name, kind in record.kinds.items() if name in wanted}
        self._prepared, self._decode = prepared, decoder(record.label)
        self._kind = value_kind(record.label)

    def features(self, columns):
        """Return what the model takes, for columns [n]."""
        return self._prepared(columns, Mode.PREDICTION)

    @staticmethod
    def predictions(outputs):
        """Return columns for outputs of the model; raises ModelError if it has several."""
        if not tf.is_tensor(outputs):
            raise ModelError("the model has several outputs; SQL needs a model with one")
        return {"prediction": outputs[:, 0] if outputs.shape.rank == 2 and outputs.shape[1] == 1 else outputs}

    def decoded(self, predictions):
        """Return the values that a PREDICT statement writes, an array [n]; raises ModelError for NaN.

        It also does for a class that the label does not have, unless classes are texts: then it is None.
        """
        outputs = np.asarray(predictions["prediction"])
        if outputs.dtype.kind == "f" and not np.isfinite(outputs).all():
            raise ModelError("the model's output is NaN or infinite; look for values far from those of the training")
        values = self._decode(outputs)
        is_text = self._kind == "text"
        if not is_text and any(value is None for value in values):
            raise ModelError("the model has more outputs than its label has classes, and chose another one")
        return {"prediction": np.array(values, object if is_text else None)}
