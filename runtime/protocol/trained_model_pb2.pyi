from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TrainedModel(_message.Message):
    __slots__ = ("docker_commit_id", "model_def", "model_def_params", "params_filename", "input_function", "loss", "optimizer", "dataset_function", "eval_metrics_function", "data_reader_params", "model_zoo", "model_zoo_digest", "metrics", "step", "versions", "job_name", "created_at", "variables", "minibatch_size", "saved_model", "custom_data_reader", "features", "state", "tables", "tables_digest")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DOCKER_COMMIT_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_DEF_FIELD_NUMBER: _ClassVar[int]
    MODEL_DEF_PARAMS_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FILENAME_FIELD_NUMBER: _ClassVar[int]
    INPUT_FUNCTION_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    DATASET_FUNCTION_FIELD_NUMBER: _ClassVar[int]
    EVAL_METRICS_FUNCTION_FIELD_NUMBER: _ClassVar[int]
    DATA_READER_PARAMS_FIELD_NUMBER: _ClassVar[int]
    MODEL_ZOO_FIELD_NUMBER: _ClassVar[int]
    MODEL_ZOO_DIGEST_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    JOB_NAME_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    VARIABLES_FIELD_NUMBER: _ClassVar[int]
    MINIBATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    SAVED_MODEL_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_DATA_READER_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    TABLES_DIGEST_FIELD_NUMBER: _ClassVar[int]
    docker_commit_id: str
    model_def: str
    model_def_params: str
    params_filename: str
    input_function: str
    loss: str
    optimizer: str
    dataset_function: str
    eval_metrics_function: str
    data_reader_params: str
    model_zoo: str
    model_zoo_digest: str
    metrics: _containers.ScalarMap[str, float]
    step: int
    versions: _containers.ScalarMap[str, str]
    job_name: str
    created_at: float
    variables: _containers.RepeatedCompositeFieldContainer[Variable]
    minibatch_size: int
    saved_model: str
    custom_data_reader: str
    features: str
    state: str
    tables: str
    tables_digest: str
    def __init__(self, docker_commit_id: _Optional[str] = ..., model_def: _Optional[str] = ..., model_def_params: _Optional[str] = ..., params_filename: _Optional[str] = ..., input_function: _Optional[str] = ..., loss: _Optional[str] = ..., optimizer: _Optional[str] = ..., dataset_function: _Optional[str] = ..., eval_metrics_function: _Optional[str] = ..., data_reader_params: _Optional[str] = ..., model_zoo: _Optional[str] = ..., model_zoo_digest: _Optional[str] = ..., metrics: _Optional[_Mapping[str, float]] = ..., step: _Optional[int] = ..., versions: _Optional[_Mapping[str, str]] = ..., job_name: _Optional[str] = ..., created_at: _Optional[float] = ..., variables: _Optional[_Iterable[_Union[Variable, _Mapping]]] = ..., minibatch_size: _Optional[int] = ..., saved_model: _Optional[str] = ..., custom_data_reader: _Optional[str] = ..., features: _Optional[str] = ..., state: _Optional[str] = ..., tables: _Optional[str] = ..., tables_digest: _Optional[str] = ...) -> None: ...

class Variable(_message.Message):
    __slots__ = ("name", "shape", "dtype")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    dtype: str
    def __init__(self, name: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., dtype: _Optional[str] = ...) -> None: ...

class Variables(_message.Message):
    __slots__ = ("variables",)
    VARIABLES_FIELD_NUMBER: _ClassVar[int]
    variables: _containers.RepeatedCompositeFieldContainer[Variable]
    def __init__(self, variables: _Optional[_Iterable[_Union[Variable, _Mapping]]] = ...) -> None: ...
