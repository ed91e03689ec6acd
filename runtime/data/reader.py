"""Readers of every format behind one small interface, and `open_reader`, which finds the right one."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, Protocol

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.data import files, recordio
from elasticdl_nb.runtime.data.chunks import Chunk, FileRecords, Metadata, Records
from elasticdl_nb.runtime.data.following import FollowingReader, check_can_grow
from elasticdl_nb.runtime.data.listing import Listing, kept, of_paths
from elasticdl_nb.runtime.data.tablereader import KeptGroups, TableReader, no_such_file, parallel
from elasticdl_nb.runtime.data.topics.names import any_topic
from elasticdl_nb.runtime.errors import DataError, OptionError, did_you_mean

__all__ = ["Chunk", "FileRecords", "Metadata", "Reader", "Records", "open_reader"]

Form = Literal["bytes", "strings", "columns"]

SUFFIXES = {
    ".recordio": "recordio",
    ".rec": "recordio",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".csv.gz": "csv",
    ".tsv.gz": "csv",
    ".txt.gz": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".arrows": "arrow",
    ".ipc": "arrow",
}
FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))
_PARAMS: dict[str, tuple[str, ...]] = {
    "recordio": ("format",),
    "tfrecord": ("format",),
    "csv": ("format", "columns", "sep", "header", "typed", "quote", "encoding"),
    "parquet": ("format", "columns"),
    "arrow": ("format", "columns"),
}
_LOADED_WITH = {
    ".json": "pandas.read_json", ".jsonl": "pandas.read_json(…, lines=True)", ".orc": "pandas.read_orc",
    ".ndjson": "pandas.read_json(…, lines=True)", ".xlsx": "pandas.read_excel", ".xls": "pandas.read_excel",
    ".npy": "numpy.load", ".npz": "numpy.load", ".pkl": "pandas.read_pickle", ".pickle": "pandas.read_pickle",
    ".h5": "pandas.read_hdf", ".hdf5": "pandas.read_hdf",
}  # fmt: skip
_VERIFIED_BYTES = 256 << 20

TYPES_DEPEND = "CSV columns that have types cannot be followed, as the types depend on all files; use Parquet"
"""Why some CSV files cannot be followed."""


class Reader(Protocol):
    """Reads records from a set of files. Safe to use from several threads.

    `form` says what a record is: "bytes" (chunks are `Records`), "strings" (a CSV row as the texts of its columns) or
    "columns" (a value per column). For the last two, chunks are `pyarrow.RecordBatch` without missing values.
    """

    form: Form

    @property
    def metadata(self) -> Metadata:
        """Names and dtypes of the columns; empty for bytes."""

    def check(self) -> None:
        """Raise DataError for anything wrong that can be found without reading everything."""

    def files(self) -> list[FileRecords]:
        """Return every file, in input order, with its number of records."""

    def read(self, path: str, start: int, end: int) -> Iterator[Chunk]:
        """Read records [start, end) of one file, many at a time; raises DataError."""


# ------------------------------------------------------------------ bytes


class _Index(Protocol):
    @property
    def records(self) -> int: ...

    def pieces(self, start: int, end: int) -> Iterator[Callable[[], Records]]: ...


class BytesReader:
    """Reader of files whose records are bytes: RecordIO and TFRecord."""

    form: Form = "bytes"
    metadata = Metadata()

    def __init__(self, listing: Listing, index: Callable[[files.Source], _Index]) -> None:
        self._listing, self._paths = listing, list(listing)
        self._index = index

    @cached_property
    def _indices(self) -> dict[str, _Index]:
        indices = parallel(lambda path: self._index(files.Source(path, self._listing[path])), self._paths)
        return dict(zip(self._paths, indices, strict=True))

    def check(self) -> None:
        """Check that the files are whole, and the checksums of small RecordIO files on this machine."""
        if sum(file.records for file in self.files()) == 0:
            raise DataError(f"there are no records in {', '.join(self._paths[:5])}")
        chains = [index for index in self._indices.values() if isinstance(index, recordio.Index)]
        if all(map(files.is_local, self._paths)) and sum(c.source.size for c in chains) <= _VERIFIED_BYTES:
            for chain in chains:
                for chunk in chain.extend():
                    recordio.load(chain.source, chunk)

    def files(self) -> list[FileRecords]:
        """Return every file with its number of records."""
        return parallel(lambda item: FileRecords(item[0], item[1].records), list(self._indices.items()))

    def read(self, path: str, start: int, end: int) -> Iterator[Records]:
        """Read records [start, end) of a file."""
        return (piece() for piece in self.pieces(path, start, end))

    def pieces(self, path: str, start: int, end: int) -> Iterator[Callable[[], Records]]:
        """Return calls that together, in their order, read records [start, end); several may run at once."""
        if path not in self._indices:
            raise no_such_file(path)
        return self._indices[path].pieces(start, end)


# ------------------------------------------------------------------ opening


def open_reader(
    paths: Sequence[str], params: Mapping[str, Any], option: str = "data", beside: Path | None = None, *,
    follow: bool = False,
) -> Reader:  # fmt: skip
    """Return the reader of these paths, globs, directories and URLs, or of a Kafka topic.

    `params` are the job's data_reader_params (see docs/data.md); `option` is the name of the option that gave the
    paths. `beside` is a job's own folder for what is known of its data: the list of files in it counts, and is made if
    there is none. With `follow`, the reader also reads the files that the master has found since. Raises OptionError if
    the paths or parameters are wrong; `check` looks into the files themselves.
    """
    if any_topic(paths):
        from elasticdl_nb.runtime.data.topics.reader import open_topic  # what few jobs need

        return open_topic(paths, params, option, beside, follow=follow, columns=_columns)
    if follow and (beside is None or not (beside / f"{option}.json").exists()):  # later all may have been deleted
        check_can_grow(paths, option)
    format = _choice("format", params.get("format"), FORMATS) if "format" in params else None
    expand = partial(expanded, paths, params, option)
    found = of_paths(expand()) if beside is None else kept(beside / f"{option}.json", expand)
    if not found:
        raise OptionError(option, "required; no files were given")
    if not format and follow and beside is not None:
        format = _kept_format(beside / f"{option}.format", list(found), option)
    format = format or _format_of_all(list(found), option)
    for name in params:
        if name not in _PARAMS[format]:
            known = ", ".join(_PARAMS[format])
            problem = f"{name} is not a parameter of {format} files; expected {known}."
            raise OptionError("data_reader_params", problem + did_you_mean(name, _PARAMS[format]))
    if follow and format == "csv" and _switch("typed", params.get("typed")):
        raise OptionError("follow", TYPES_DEPEND)
    if not follow or beside is None:
        return _open(found, format, params, beside)
    forms: dict[str, Form] = {"recordio": "bytes", "tfrecord": "bytes", "csv": "strings"}

    def open_like(listing: Listing, like: Metadata | None, kept: KeptGroups) -> Reader:
        return _open(listing, format, params, beside, like, kept)

    return FollowingReader(found, beside, option, forms.get(format, "columns"), open_like)


def expanded(paths: Sequence[str], params: Mapping[str, Any], option: str = "data") -> list[str]:
    """Return the files that these paths, globs, directories and URLs stand for now; raise OptionError."""
    suffixes = () if "format" in params else tuple(SUFFIXES)
    given = [paths] if isinstance(paths, str) else paths
    return [file for path in given for file in files.expand(path, suffixes, option)]


def _open(
    listing: Listing, format: str, params: Mapping[str, Any], beside: Path | None, like: Metadata | None = None,
    groups: KeptGroups | None = None,
) -> Reader:  # fmt: skip
    if format == "recordio":
        return BytesReader(listing, recordio.Index)
    if format == "tfrecord":
        from elasticdl_nb.runtime.data import tfrecord  # brings numba, which takes a while

        return BytesReader(listing, tfrecord.Index)
    names = _columns(params)
    if format == "csv":
        return _open_csv(listing, names, params, beside, like, groups)
    names = like.column_names if like else names
    from elasticdl_nb.runtime.data import columnar

    opener = columnar.ParquetFile if format == "parquet" else columnar.ArrowFile
    table_files = [opener(path, stamp) for path, stamp in listing.items()]
    return TableReader("columns", table_files, names, like=like, kept=groups)


def _open_csv(
    listing: Listing, names: list[str] | None, params: Mapping[str, Any], beside: Path | None, like: Metadata | None,
    groups: KeptGroups | None,
) -> Reader:  # fmt: skip
    from elasticdl_nb.runtime.data import csvfiles, csvtypes  # bring numba, which takes a while

    separator = "\t" if next(iter(listing)).lower().removesuffix(".gz").endswith(".tsv") else ","
    dialect = csvfiles.Dialect(
        separator=_character("sep", params.get("sep", separator)),
        quote=_character("quote", params.get("quote", '"'), empty=True),
        encoding=str(params.get("encoding", "utf8")),
        header=_switch("header", params.get("header")),
        columns=tuple(names or ()),
    )
    _check_encoding(dialect.encoding)
    if dialect.header is False and not names:
        raise OptionError("data_reader_params", "header=False requires columns=['…'], the names of the columns")
    csv_files = [csvfiles.CsvFile(path, dialect, stamp, beside) for path, stamp in listing.items()]
    if _switch("typed", params.get("typed")):
        return TableReader("columns", csv_files, names, prepare=lambda: csvtypes.infer_types(csv_files))
    return TableReader("strings", csv_files, like.column_names if like else names, like=like, kept=groups)


# ------------------------------------------------------------------ formats


def format_of(path: str) -> str | None:
    """Return the format that the file's name indicates, or None."""
    name = path.lower()
    return next((format for suffix, format in SUFFIXES.items() if name.endswith(suffix)), None)


def _format_of_all(paths: list[str], option: str) -> str:
    formats: dict[str, str] = {}
    for path in paths:
        format = format_of(path) or _sniff(path)
        if format is None:
            raise OptionError(option, f"{path}: {_unknown(path)}")
        formats.setdefault(format, path)
    if len(formats) > 1:
        (one, first), (other, second) = list(formats.items())[:2]
        raise OptionError(option, f"files of different formats: {first} is {one}, {second} is {other}; use one format")
    return next(iter(formats))


def _kept_format(place: Path, paths: list[str], option: str) -> str:
    """Return the format in the file `place`, which is written if there is none: later the files may be deleted."""
    with contextlib.suppress(FileNotFoundError):
        return place.read_text()
    format = _format_of_all(paths, option)
    durable.write(place, format.encode())
    return format


def _unknown(path: str) -> str:
    suffix, choices = Path(path.lower().removesuffix(".gz")).suffix, ", ".join(FORMATS)
    if suffix in _LOADED_WITH:
        what = f"give what {_LOADED_WITH[suffix]} returns, or convert the file"
        return f"{suffix} files are not read by jobs ({choices} are); in Python, {what}"
    hint = f"give it, for instance data_reader_params=\"format='csv'\" ({choices})"
    return f"neither its name nor its content shows its format; {hint}"


def _sniff(path: str) -> str | None:
    head = files.Source(path).read(0, 12)
    if head.startswith(recordio.MAGIC_BYTES):
        return "recordio"
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"ARROW1"):
        return "arrow"
    from elasticdl_nb.runtime.data import tfrecord

    return "tfrecord" if tfrecord.looks_like_tfrecord(head) else None


# ------------------------------------------------------------------ parameters


def _wrong(name: str, value: Any, problem: str) -> OptionError:
    return OptionError("data_reader_params", f"{name}={value!r} is not valid: {problem}")


def _choice(name: str, value: Any, choices: Sequence[str]) -> str:
    if value not in choices:
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        raise _wrong(name, value, f"expected one of {', '.join(choices)}.{hint}")
    return str(value)


def _columns(params: Mapping[str, Any]) -> list[str] | None:
    names = params.get("columns")
    if names is None:
        return None
    if not isinstance(names, (list, tuple)) or not names or not all(isinstance(name, str) for name in names):
        raise _wrong("columns", names, "expected a list of names, such as ['a', 'b']")
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise _wrong("columns", names, f"{twice[0]!r} appears more than once")
    return list(names)


def _character(name: str, value: Any, *, empty: bool = False) -> str:
    if empty and value == "":
        return ""
    if not isinstance(value, str) or len(value) != 1 or ord(value) > 127 or value in "\r\n":
        raise _wrong(name, value, "expected a single ASCII character")
    return value


def _switch(name: str, value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise _wrong(name, value, "expected True or False")
    return value


def _check_encoding(encoding: str) -> None:
    try:
        plain = ',"\n'.encode(encoding) == b',"\n'
    except LookupError:
        raise _wrong("encoding", encoding, "Python does not know this encoding") from None
    if not plain:
        raise _wrong("encoding", encoding, "expected an encoding that keeps ASCII as it is, such as utf8 or latin-1")
