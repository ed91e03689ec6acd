"""`from elasticdl.python.common.constants import Mode`, and names of what ElasticDL read from elsewhere."""

from elasticdl_nb.runtime.mode import Mode

__all__ = ["MaxComputeConfig", "Mode", "ReaderType"]


class MaxComputeConfig:
    """The environment variables for MaxCompute, which elasticdl_nb does not read or write."""

    PROJECT_NAME = "MAXCOMPUTE_PROJECT"
    ACCESS_ID = "MAXCOMPUTE_AK"
    ACCESS_KEY = "MAXCOMPUTE_SK"
    ENDPOINT = "MAXCOMPUTE_ENDPOINT"
    TUNNEL_ENDPOINT = "MAXCOMPUTE_TUNNEL_ENDPOINT"


class ReaderType:
    """What `create_data_reader` takes as its `reader_type`."""

    CSV_READER = "CSV"
    ODPS_READER = "ODPS"
    RECORDIO_READER = "RecordIO"
