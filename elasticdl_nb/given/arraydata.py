"""The data of a job that was given as arrays: from a call's options to files in the job's folder."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elasticdl_nb.given.arrayfiles import hold_out, write_arrays, write_function
from elasticdl_nb.given.arrays import Arrays, check_same_form, check_trained
from elasticdl_nb.given.datakinds import is_arrays, refusal
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.spec import ARRAY_INPUT, JobKind, JobSpec, find_option

_WITHOUT = {
    "input_fn": "arrays are what the model gets; leave it out, or give files, a frame, or a list of frames",
    "dataset_fn": "arrays are what the model gets; leave it out, or give files, a frame, or a list of frames",
    "custom_data_reader": "reads the data itself; leave it out, or give the data that it reads",
    "label": "names a column of a frame, which arrays do not have; give data=(x, y), or a frame, for example "
    "pandas.DataFrame(…)",
    "sample_weight_column": "names a column, which arrays do not have; give data=(x, y, sample_weight)",
    "data_reader_params": "say how to read files; leave them out",
}
"""Options that say what arrays say themselves."""


@dataclass(frozen=True)
class ArrayData:
    """The options of a call, with names of files in place of arrays, and these arrays by option."""

    options: Mapping[str, Any]
    given: Mapping[str, Arrays] = field(default_factory=dict)

    @classmethod
    def of(cls, kind: JobKind, options: Mapping[str, Any]) -> ArrayData:
        """Look for arrays among a call's options; raises OptionError for arrays that cannot be used."""
        names = {find_option(kind, name).name: name for name, value in options.items() if value is not None}
        found = [option for option in ("data", "validation_data") if is_arrays(options.get(names.get(option, "")))]
        wrong = {option: refusal(options.get(names.get(option, ""))) for option in ("data", "validation_data")}
        OptionError.raise_together(
            [OptionError(names[option], why) for option, why in wrong.items() if why and option not in found]
        )
        if not found:
            return cls(options)
        OptionError.raise_together(
            [
                OptionError(names[option], words)
                for option, words in _WITHOUT.items()
                if options.get(names.get(option, ""))
            ]
        )
        for option in ("data", "validation_data"):
            if option in names and option not in found:
                raise OptionError(option, f"give arrays, as for {found[0]}, or files for both")
        given = {option: Arrays(options[names[option]], option, kind) for option in found}
        replaced = {**options, "input_fn": ARRAY_INPUT}
        for option in found:
            replaced[names[option]] = f"{option}.arrow"
        size = given[found[0]].batch_size
        if size and "minibatch_size" not in names:
            replaced["minibatch_size"] = size
        return cls(replaced, given)

    def check(self, spec: JobSpec, zoo: Path) -> None:
        """Write the input function of a training into its zoo; raise OptionError for arrays of another form."""
        data = self.given.get("data")
        if spec.kind != "train":
            check_trained(data.record if data else None, spec)
        elif data is not None:
            if "validation_data" in self.given:
                check_same_form(self.given["validation_data"].record, data.record, "validation_data")
            write_function(zoo, data.record)

    def write(self, spec: JobSpec, folder: Path) -> JobSpec:
        """Write the arrays to files in a folder; return the job that reads them."""
        for option, arrays in self.given.items():
            path = folder / f"{option}.arrow"
            rows = write_arrays(arrays, path)
            spec = spec.replace(**{option: (os.fspath(path),)})
            if arrays.batch_size:
                warnings.warn(
                    f"{option}: the dataset was read once, {rows:,} records in batches of {arrays.batch_size}; what it "
                    "draws by chance, such as an order or augmented images, is the same in every epoch",
                    stacklevel=2,
                )
        if self.given and spec.validation_split:
            held = folder / "validation_data.arrow"
            hold_out(folder / "data.arrow", held, spec.validation_split, spec.seed)
            spec = spec.replace(validation_data=(os.fspath(held),))
        return spec
