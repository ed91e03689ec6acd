"""`elasticdl.python.data.reader.odps_reader`: importable; see `elasticdl.python.data.odps_io`."""

from ..odps_io import NotOffered

__all__ = ["ODPSDataReader", "ParallelODPSDataReader"]


class ODPSDataReader(NotOffered):
    """Read the records of a job from MaxCompute: not offered."""


class ParallelODPSDataReader(ODPSDataReader):
    """The same with several threads: not offered."""
