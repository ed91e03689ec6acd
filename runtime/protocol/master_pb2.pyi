from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TaskKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRAIN: _ClassVar[TaskKind]
    EVALUATE: _ClassVar[TaskKind]
    PREDICT: _ClassVar[TaskKind]
    FINISH: _ClassVar[TaskKind]
    CALLBACKS: _ClassVar[TaskKind]
    WINDOW: _ClassVar[TaskKind]

class JobPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STARTING: _ClassVar[JobPhase]
    RUNNING: _ClassVar[JobPhase]
    FINISHING: _ClassVar[JobPhase]
    SUCCEEDED: _ClassVar[JobPhase]
    FAILED: _ClassVar[JobPhase]
    CANCELLED: _ClassVar[JobPhase]
TRAIN: TaskKind
EVALUATE: TaskKind
PREDICT: TaskKind
FINISH: TaskKind
CALLBACKS: TaskKind
WINDOW: TaskKind
STARTING: JobPhase
RUNNING: JobPhase
FINISHING: JobPhase
SUCCEEDED: JobPhase
FAILED: JobPhase
CANCELLED: JobPhase

class Range(_message.Message):
    __slots__ = ("path", "start", "end")
    PATH_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    path: str
    start: int
    end: int
    def __init__(self, path: _Optional[str] = ..., start: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("id", "attempt", "kind", "ranges", "epoch", "index", "evaluation", "summarize", "states", "parts", "ends_epoch", "generation", "skip", "oldest_epoch", "border", "step", "records", "last")
    ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    SUMMARIZE_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    ENDS_EPOCH_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    OLDEST_EPOCH_FIELD_NUMBER: _ClassVar[int]
    BORDER_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    id: int
    attempt: int
    kind: TaskKind
    ranges: _containers.RepeatedCompositeFieldContainer[Range]
    epoch: int
    index: int
    evaluation: int
    summarize: bool
    states: _containers.RepeatedCompositeFieldContainer[MetricState]
    parts: int
    ends_epoch: bool
    generation: int
    skip: int
    oldest_epoch: int
    border: Border
    step: int
    records: int
    last: _containers.RepeatedCompositeFieldContainer[LastRecord]
    def __init__(self, id: _Optional[int] = ..., attempt: _Optional[int] = ..., kind: _Optional[_Union[TaskKind, str]] = ..., ranges: _Optional[_Iterable[_Union[Range, _Mapping]]] = ..., epoch: _Optional[int] = ..., index: _Optional[int] = ..., evaluation: _Optional[int] = ..., summarize: _Optional[bool] = ..., states: _Optional[_Iterable[_Union[MetricState, _Mapping]]] = ..., parts: _Optional[int] = ..., ends_epoch: _Optional[bool] = ..., generation: _Optional[int] = ..., skip: _Optional[int] = ..., oldest_epoch: _Optional[int] = ..., border: _Optional[_Union[Border, _Mapping]] = ..., step: _Optional[int] = ..., records: _Optional[int] = ..., last: _Optional[_Iterable[_Union[LastRecord, _Mapping]]] = ...) -> None: ...

class Border(_message.Message):
    __slots__ = ("number", "state", "here", "learning_rate", "next", "needed", "others", "evaluation", "last", "steps")
    class EvaluationEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    HERE_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    NEEDED_FIELD_NUMBER: _ClassVar[int]
    OTHERS_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    number: int
    state: str
    here: bool
    learning_rate: float
    next: str
    needed: _containers.RepeatedScalarFieldContainer[str]
    others: EpochEnded
    evaluation: _containers.ScalarMap[str, float]
    last: bool
    steps: int
    def __init__(self, number: _Optional[int] = ..., state: _Optional[str] = ..., here: _Optional[bool] = ..., learning_rate: _Optional[float] = ..., next: _Optional[str] = ..., needed: _Optional[_Iterable[str]] = ..., others: _Optional[_Union[EpochEnded, _Mapping]] = ..., evaluation: _Optional[_Mapping[str, float]] = ..., last: _Optional[bool] = ..., steps: _Optional[int] = ...) -> None: ...

class MetricState(_message.Message):
    __slots__ = ("name", "arrays")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    name: str
    arrays: _containers.RepeatedCompositeFieldContainer[Array]
    def __init__(self, name: _Optional[str] = ..., arrays: _Optional[_Iterable[_Union[Array, _Mapping]]] = ...) -> None: ...

class Array(_message.Message):
    __slots__ = ("shape", "values")
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    shape: _containers.RepeatedScalarFieldContainer[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, shape: _Optional[_Iterable[int]] = ..., values: _Optional[_Iterable[float]] = ...) -> None: ...

class WorkerMessage(_message.Message):
    __slots__ = ("hello", "want", "task_done", "task_failed", "progress", "checkpoint_ready", "worker_failed", "stop_training", "note", "paused", "restore_done", "snapshot_captured", "snapshot_written", "data_counted", "halted", "checkpoint_failed", "sequence")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    WANT_FIELD_NUMBER: _ClassVar[int]
    TASK_DONE_FIELD_NUMBER: _ClassVar[int]
    TASK_FAILED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_READY_FIELD_NUMBER: _ClassVar[int]
    WORKER_FAILED_FIELD_NUMBER: _ClassVar[int]
    STOP_TRAINING_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    RESTORE_DONE_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_CAPTURED_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_WRITTEN_FIELD_NUMBER: _ClassVar[int]
    DATA_COUNTED_FIELD_NUMBER: _ClassVar[int]
    HALTED_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FAILED_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    want: Want
    task_done: TaskDone
    task_failed: TaskFailed
    progress: Progress
    checkpoint_ready: CheckpointReady
    worker_failed: WorkerFailed
    stop_training: StopTraining
    note: Note
    paused: Paused
    restore_done: RestoreDone
    snapshot_captured: SnapshotCaptured
    snapshot_written: SnapshotWritten
    data_counted: DataCounted
    halted: Halted
    checkpoint_failed: CheckpointFailed
    sequence: int
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., want: _Optional[_Union[Want, _Mapping]] = ..., task_done: _Optional[_Union[TaskDone, _Mapping]] = ..., task_failed: _Optional[_Union[TaskFailed, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., checkpoint_ready: _Optional[_Union[CheckpointReady, _Mapping]] = ..., worker_failed: _Optional[_Union[WorkerFailed, _Mapping]] = ..., stop_training: _Optional[_Union[StopTraining, _Mapping]] = ..., note: _Optional[_Union[Note, _Mapping]] = ..., paused: _Optional[_Union[Paused, _Mapping]] = ..., restore_done: _Optional[_Union[RestoreDone, _Mapping]] = ..., snapshot_captured: _Optional[_Union[SnapshotCaptured, _Mapping]] = ..., snapshot_written: _Optional[_Union[SnapshotWritten, _Mapping]] = ..., data_counted: _Optional[_Union[DataCounted, _Mapping]] = ..., halted: _Optional[_Union[Halted, _Mapping]] = ..., checkpoint_failed: _Optional[_Union[CheckpointFailed, _Mapping]] = ..., sequence: _Optional[int] = ...) -> None: ...

class MasterMessage(_message.Message):
    __slots__ = ("welcome", "task", "leave", "servers", "pause", "resume", "restore", "snapshot", "regroup", "ring", "no_task", "wait_with_checkpoints", "acknowledged")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    LEAVE_FIELD_NUMBER: _ClassVar[int]
    SERVERS_FIELD_NUMBER: _ClassVar[int]
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    RESTORE_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    REGROUP_FIELD_NUMBER: _ClassVar[int]
    RING_FIELD_NUMBER: _ClassVar[int]
    NO_TASK_FIELD_NUMBER: _ClassVar[int]
    WAIT_WITH_CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    task: Task
    leave: Leave
    servers: Servers
    pause: Pause
    resume: Resume
    restore: Restore
    snapshot: Snapshot
    regroup: Regroup
    ring: Ring
    no_task: NoTask
    wait_with_checkpoints: WaitWithCheckpoints
    acknowledged: int
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., task: _Optional[_Union[Task, _Mapping]] = ..., leave: _Optional[_Union[Leave, _Mapping]] = ..., servers: _Optional[_Union[Servers, _Mapping]] = ..., pause: _Optional[_Union[Pause, _Mapping]] = ..., resume: _Optional[_Union[Resume, _Mapping]] = ..., restore: _Optional[_Union[Restore, _Mapping]] = ..., snapshot: _Optional[_Union[Snapshot, _Mapping]] = ..., regroup: _Optional[_Union[Regroup, _Mapping]] = ..., ring: _Optional[_Union[Ring, _Mapping]] = ..., no_task: _Optional[_Union[NoTask, _Mapping]] = ..., wait_with_checkpoints: _Optional[_Union[WaitWithCheckpoints, _Mapping]] = ..., acknowledged: _Optional[int] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("worker", "incarnation", "pid", "role", "data_address", "again", "held")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    DATA_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    AGAIN_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    worker: int
    incarnation: str
    pid: int
    role: str
    data_address: str
    again: bool
    held: _containers.RepeatedCompositeFieldContainer[TaskKey]
    def __init__(self, worker: _Optional[int] = ..., incarnation: _Optional[str] = ..., pid: _Optional[int] = ..., role: _Optional[str] = ..., data_address: _Optional[str] = ..., again: _Optional[bool] = ..., held: _Optional[_Iterable[_Union[TaskKey, _Mapping]]] = ...) -> None: ...

class TaskKey(_message.Message):
    __slots__ = ("id", "attempt")
    ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    id: int
    attempt: int
    def __init__(self, id: _Optional[int] = ..., attempt: _Optional[int] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("restore_from", "acknowledged", "initial")
    RESTORE_FROM_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    INITIAL_FIELD_NUMBER: _ClassVar[int]
    restore_from: str
    acknowledged: int
    initial: str
    def __init__(self, restore_from: _Optional[str] = ..., acknowledged: _Optional[int] = ..., initial: _Optional[str] = ...) -> None: ...

class Want(_message.Message):
    __slots__ = ("tasks", "callbacks")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    CALLBACKS_FIELD_NUMBER: _ClassVar[int]
    tasks: int
    callbacks: bool
    def __init__(self, tasks: _Optional[int] = ..., callbacks: _Optional[bool] = ...) -> None: ...

class TaskDone(_message.Message):
    __slots__ = ("id", "attempt", "records", "steps", "step", "states", "metrics", "outputs", "so_far", "decision", "tested", "malformed", "example", "expired", "late", "late_example", "late_passed", "last")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    SO_FAR_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    TESTED_FIELD_NUMBER: _ClassVar[int]
    MALFORMED_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    LATE_EXAMPLE_FIELD_NUMBER: _ClassVar[int]
    LATE_PASSED_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    id: int
    attempt: int
    records: int
    steps: int
    step: int
    states: _containers.RepeatedCompositeFieldContainer[MetricState]
    metrics: _containers.ScalarMap[str, float]
    outputs: _containers.RepeatedScalarFieldContainer[str]
    so_far: EpochEnded
    decision: Decision
    tested: int
    malformed: int
    example: str
    expired: int
    late: int
    late_example: str
    late_passed: int
    last: LastRecord
    def __init__(self, id: _Optional[int] = ..., attempt: _Optional[int] = ..., records: _Optional[int] = ..., steps: _Optional[int] = ..., step: _Optional[int] = ..., states: _Optional[_Iterable[_Union[MetricState, _Mapping]]] = ..., metrics: _Optional[_Mapping[str, float]] = ..., outputs: _Optional[_Iterable[str]] = ..., so_far: _Optional[_Union[EpochEnded, _Mapping]] = ..., decision: _Optional[_Union[Decision, _Mapping]] = ..., tested: _Optional[int] = ..., malformed: _Optional[int] = ..., example: _Optional[str] = ..., expired: _Optional[int] = ..., late: _Optional[int] = ..., late_example: _Optional[str] = ..., late_passed: _Optional[int] = ..., last: _Optional[_Union[LastRecord, _Mapping]] = ...) -> None: ...

class LastRecord(_message.Message):
    __slots__ = ("path", "end", "offset", "fingerprint", "event_time")
    PATH_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    path: str
    end: int
    offset: int
    fingerprint: str
    event_time: int
    def __init__(self, path: _Optional[str] = ..., end: _Optional[int] = ..., offset: _Optional[int] = ..., fingerprint: _Optional[str] = ..., event_time: _Optional[int] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("learning_rate", "stop", "changed", "logs", "over", "records")
    class LogsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    OVER_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    learning_rate: float
    stop: str
    changed: bool
    logs: _containers.ScalarMap[str, float]
    over: bool
    records: int
    def __init__(self, learning_rate: _Optional[float] = ..., stop: _Optional[str] = ..., changed: _Optional[bool] = ..., logs: _Optional[_Mapping[str, float]] = ..., over: _Optional[bool] = ..., records: _Optional[int] = ...) -> None: ...

class TaskFailed(_message.Message):
    __slots__ = ("id", "attempt", "failure", "steps_applied", "records")
    ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    STEPS_APPLIED_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    id: int
    attempt: int
    failure: Failure
    steps_applied: int
    records: int
    def __init__(self, id: _Optional[int] = ..., attempt: _Optional[int] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., steps_applied: _Optional[int] = ..., records: _Optional[int] = ...) -> None: ...

class WorkerFailed(_message.Message):
    __slots__ = ("failure",)
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    failure: Failure
    def __init__(self, failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("message", "traceback", "transient", "checkpoint")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    TRANSIENT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    message: str
    traceback: str
    transient: bool
    checkpoint: str
    def __init__(self, message: _Optional[str] = ..., traceback: _Optional[str] = ..., transient: _Optional[bool] = ..., checkpoint: _Optional[str] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("activity", "step", "records", "losses", "rows", "bytes", "admitted", "evicted", "generation", "exchanging", "hidden")
    ACTIVITY_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    ADMITTED_FIELD_NUMBER: _ClassVar[int]
    EVICTED_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    EXCHANGING_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    activity: str
    step: int
    records: int
    losses: _containers.RepeatedCompositeFieldContainer[LossPoint]
    rows: int
    bytes: int
    admitted: int
    evicted: int
    generation: int
    exchanging: float
    hidden: float
    def __init__(self, activity: _Optional[str] = ..., step: _Optional[int] = ..., records: _Optional[int] = ..., losses: _Optional[_Iterable[_Union[LossPoint, _Mapping]]] = ..., rows: _Optional[int] = ..., bytes: _Optional[int] = ..., admitted: _Optional[int] = ..., evicted: _Optional[int] = ..., generation: _Optional[int] = ..., exchanging: _Optional[float] = ..., hidden: _Optional[float] = ...) -> None: ...

class CheckpointReady(_message.Message):
    __slots__ = ("step", "path", "places")
    STEP_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    step: int
    path: str
    places: _containers.RepeatedCompositeFieldContainer[Place]
    def __init__(self, step: _Optional[int] = ..., path: _Optional[str] = ..., places: _Optional[_Iterable[_Union[Place, _Mapping]]] = ...) -> None: ...

class CheckpointFailed(_message.Message):
    __slots__ = ("step", "problem")
    STEP_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    step: int
    problem: str
    def __init__(self, step: _Optional[int] = ..., problem: _Optional[str] = ...) -> None: ...

class WaitWithCheckpoints(_message.Message):
    __slots__ = ("seconds",)
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    seconds: float
    def __init__(self, seconds: _Optional[float] = ...) -> None: ...

class EpochEnded(_message.Message):
    __slots__ = ("epoch", "step", "records", "logs")
    class LogsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    step: int
    records: int
    logs: _containers.ScalarMap[str, float]
    def __init__(self, epoch: _Optional[int] = ..., step: _Optional[int] = ..., records: _Optional[int] = ..., logs: _Optional[_Mapping[str, float]] = ...) -> None: ...

class StopTraining(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class Note(_message.Message):
    __slots__ = ("level", "text")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    level: str
    text: str
    def __init__(self, level: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class Leave(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class Servers(_message.Message):
    __slots__ = ("generation", "addresses")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    generation: int
    addresses: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, generation: _Optional[int] = ..., addresses: _Optional[_Iterable[str]] = ...) -> None: ...

class Pause(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...

class Paused(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...

class Resume(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Restore(_message.Message):
    __slots__ = ("generation", "path", "keep_step")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    KEEP_STEP_FIELD_NUMBER: _ClassVar[int]
    generation: int
    path: str
    keep_step: bool
    def __init__(self, generation: _Optional[int] = ..., path: _Optional[str] = ..., keep_step: _Optional[bool] = ...) -> None: ...

class RestoreDone(_message.Message):
    __slots__ = ("generation", "step", "failure")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    generation: int
    step: int
    failure: Failure
    def __init__(self, generation: _Optional[int] = ..., step: _Optional[int] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("number", "generation", "path")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    number: int
    generation: int
    path: str
    def __init__(self, number: _Optional[int] = ..., generation: _Optional[int] = ..., path: _Optional[str] = ...) -> None: ...

class SnapshotCaptured(_message.Message):
    __slots__ = ("number", "step")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    number: int
    step: int
    def __init__(self, number: _Optional[int] = ..., step: _Optional[int] = ...) -> None: ...

class SnapshotWritten(_message.Message):
    __slots__ = ("number", "failure")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    number: int
    failure: Failure
    def __init__(self, number: _Optional[int] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class Halted(_message.Message):
    __slots__ = ("generation", "has_model", "step", "places")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    HAS_MODEL_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    generation: int
    has_model: bool
    step: int
    places: _containers.RepeatedCompositeFieldContainer[Place]
    def __init__(self, generation: _Optional[int] = ..., has_model: _Optional[bool] = ..., step: _Optional[int] = ..., places: _Optional[_Iterable[_Union[Place, _Mapping]]] = ...) -> None: ...

class Place(_message.Message):
    __slots__ = ("worker", "task", "attempt", "records", "complete")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    worker: int
    task: int
    attempt: int
    records: int
    complete: bool
    def __init__(self, worker: _Optional[int] = ..., task: _Optional[int] = ..., attempt: _Optional[int] = ..., records: _Optional[int] = ..., complete: _Optional[bool] = ...) -> None: ...

class Regroup(_message.Message):
    __slots__ = ("generation",)
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    generation: int
    def __init__(self, generation: _Optional[int] = ...) -> None: ...

class Ring(_message.Message):
    __slots__ = ("generation", "workers", "addresses", "donor", "step", "hand_over", "restore_from", "first_task")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    DONOR_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    HAND_OVER_FIELD_NUMBER: _ClassVar[int]
    RESTORE_FROM_FIELD_NUMBER: _ClassVar[int]
    FIRST_TASK_FIELD_NUMBER: _ClassVar[int]
    generation: int
    workers: _containers.RepeatedScalarFieldContainer[int]
    addresses: _containers.RepeatedScalarFieldContainer[str]
    donor: int
    step: int
    hand_over: bool
    restore_from: str
    first_task: int
    def __init__(self, generation: _Optional[int] = ..., workers: _Optional[_Iterable[int]] = ..., addresses: _Optional[_Iterable[str]] = ..., donor: _Optional[int] = ..., step: _Optional[int] = ..., hand_over: _Optional[bool] = ..., restore_from: _Optional[str] = ..., first_task: _Optional[int] = ...) -> None: ...

class NoTask(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DataCounted(_message.Message):
    __slots__ = ("data", "validation")
    DATA_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    data: _containers.RepeatedCompositeFieldContainer[Shard]
    validation: _containers.RepeatedCompositeFieldContainer[Shard]
    def __init__(self, data: _Optional[_Iterable[_Union[Shard, _Mapping]]] = ..., validation: _Optional[_Iterable[_Union[Shard, _Mapping]]] = ...) -> None: ...

class Shard(_message.Message):
    __slots__ = ("path", "start", "records")
    PATH_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    path: str
    start: int
    records: int
    def __init__(self, path: _Optional[str] = ..., start: _Optional[int] = ..., records: _Optional[int] = ...) -> None: ...

class LossPoint(_message.Message):
    __slots__ = ("step", "loss", "time")
    STEP_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    step: int
    loss: float
    time: float
    def __init__(self, step: _Optional[int] = ..., loss: _Optional[float] = ..., time: _Optional[float] = ...) -> None: ...

class Evaluation(_message.Message):
    __slots__ = ("step", "time", "metrics", "records")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    STEP_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    step: int
    time: float
    metrics: _containers.ScalarMap[str, float]
    records: int
    def __init__(self, step: _Optional[int] = ..., time: _Optional[float] = ..., metrics: _Optional[_Mapping[str, float]] = ..., records: _Optional[int] = ...) -> None: ...

class Window(_message.Message):
    __slots__ = ("number", "step", "tested", "time", "records", "metrics")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TESTED_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    number: int
    step: int
    tested: int
    time: float
    records: int
    metrics: _containers.ScalarMap[str, float]
    def __init__(self, number: _Optional[int] = ..., step: _Optional[int] = ..., tested: _Optional[int] = ..., time: _Optional[float] = ..., records: _Optional[int] = ..., metrics: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Alarm(_message.Message):
    __slots__ = ("bound", "on", "times", "window", "value")
    BOUND_FIELD_NUMBER: _ClassVar[int]
    ON_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    bound: str
    on: bool
    times: int
    window: int
    value: float
    def __init__(self, bound: _Optional[str] = ..., on: _Optional[bool] = ..., times: _Optional[int] = ..., window: _Optional[int] = ..., value: _Optional[float] = ...) -> None: ...

class Instance(_message.Message):
    __slots__ = ("role", "index", "state", "activity", "tasks_done", "records_done", "records_per_second", "restarts", "pid", "rows", "bytes", "admitted", "evicted", "exchanging", "hidden")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ACTIVITY_FIELD_NUMBER: _ClassVar[int]
    TASKS_DONE_FIELD_NUMBER: _ClassVar[int]
    RECORDS_DONE_FIELD_NUMBER: _ClassVar[int]
    RECORDS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    ADMITTED_FIELD_NUMBER: _ClassVar[int]
    EVICTED_FIELD_NUMBER: _ClassVar[int]
    EXCHANGING_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    role: str
    index: int
    state: str
    activity: str
    tasks_done: int
    records_done: int
    records_per_second: float
    restarts: int
    pid: int
    rows: int
    bytes: int
    admitted: int
    evicted: int
    exchanging: float
    hidden: float
    def __init__(self, role: _Optional[str] = ..., index: _Optional[int] = ..., state: _Optional[str] = ..., activity: _Optional[str] = ..., tasks_done: _Optional[int] = ..., records_done: _Optional[int] = ..., records_per_second: _Optional[float] = ..., restarts: _Optional[int] = ..., pid: _Optional[int] = ..., rows: _Optional[int] = ..., bytes: _Optional[int] = ..., admitted: _Optional[int] = ..., evicted: _Optional[int] = ..., exchanging: _Optional[float] = ..., hidden: _Optional[float] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("time", "level", "source", "text", "mark")
    TIME_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MARK_FIELD_NUMBER: _ClassVar[int]
    time: float
    level: str
    source: str
    text: str
    mark: str
    def __init__(self, time: _Optional[float] = ..., level: _Optional[str] = ..., source: _Optional[str] = ..., text: _Optional[str] = ..., mark: _Optional[str] = ...) -> None: ...

class JobStatus(_message.Message):
    __slots__ = ("name", "kind", "phase", "detail", "progress", "remaining_seconds", "epoch", "num_epochs", "records_done", "records_total", "tasks_done", "tasks_total", "tasks_retried", "records_per_second", "step", "losses", "evaluations", "instances", "events", "started_at", "updated_at", "finished_at", "failure", "outputs", "distribution_strategy", "dashboard_url", "num_workers", "num_ps", "rollbacks", "checkpoint_step", "tasks_set_aside", "records_set_aside", "set_aside", "history", "kept_checkpoints", "windows", "records_untested", "alarms", "records_malformed", "records_expired", "records_behind", "records_late", "records_late_passed", "event_time", "event_time_oldest", "lag_seconds")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    REMAINING_SECONDS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    NUM_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    RECORDS_DONE_FIELD_NUMBER: _ClassVar[int]
    RECORDS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    TASKS_DONE_FIELD_NUMBER: _ClassVar[int]
    TASKS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    TASKS_RETRIED_FIELD_NUMBER: _ClassVar[int]
    RECORDS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    EVALUATIONS_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    DISTRIBUTION_STRATEGY_FIELD_NUMBER: _ClassVar[int]
    DASHBOARD_URL_FIELD_NUMBER: _ClassVar[int]
    NUM_WORKERS_FIELD_NUMBER: _ClassVar[int]
    NUM_PS_FIELD_NUMBER: _ClassVar[int]
    ROLLBACKS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_STEP_FIELD_NUMBER: _ClassVar[int]
    TASKS_SET_ASIDE_FIELD_NUMBER: _ClassVar[int]
    RECORDS_SET_ASIDE_FIELD_NUMBER: _ClassVar[int]
    SET_ASIDE_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    KEPT_CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    RECORDS_UNTESTED_FIELD_NUMBER: _ClassVar[int]
    ALARMS_FIELD_NUMBER: _ClassVar[int]
    RECORDS_MALFORMED_FIELD_NUMBER: _ClassVar[int]
    RECORDS_EXPIRED_FIELD_NUMBER: _ClassVar[int]
    RECORDS_BEHIND_FIELD_NUMBER: _ClassVar[int]
    RECORDS_LATE_FIELD_NUMBER: _ClassVar[int]
    RECORDS_LATE_PASSED_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_OLDEST_FIELD_NUMBER: _ClassVar[int]
    LAG_SECONDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: str
    phase: JobPhase
    detail: str
    progress: float
    remaining_seconds: float
    epoch: int
    num_epochs: int
    records_done: int
    records_total: int
    tasks_done: int
    tasks_total: int
    tasks_retried: int
    records_per_second: float
    step: int
    losses: _containers.RepeatedCompositeFieldContainer[LossPoint]
    evaluations: _containers.RepeatedCompositeFieldContainer[Evaluation]
    instances: _containers.RepeatedCompositeFieldContainer[Instance]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    started_at: float
    updated_at: float
    finished_at: float
    failure: Failure
    outputs: _containers.RepeatedScalarFieldContainer[str]
    distribution_strategy: str
    dashboard_url: str
    num_workers: int
    num_ps: int
    rollbacks: int
    checkpoint_step: int
    tasks_set_aside: int
    records_set_aside: int
    set_aside: _containers.RepeatedCompositeFieldContainer[SetAside]
    history: _containers.RepeatedCompositeFieldContainer[EpochEnded]
    kept_checkpoints: _containers.RepeatedScalarFieldContainer[int]
    windows: _containers.RepeatedCompositeFieldContainer[Window]
    records_untested: int
    alarms: _containers.RepeatedCompositeFieldContainer[Alarm]
    records_malformed: int
    records_expired: int
    records_behind: int
    records_late: int
    records_late_passed: int
    event_time: float
    event_time_oldest: float
    lag_seconds: float
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., phase: _Optional[_Union[JobPhase, str]] = ..., detail: _Optional[str] = ..., progress: _Optional[float] = ..., remaining_seconds: _Optional[float] = ..., epoch: _Optional[int] = ..., num_epochs: _Optional[int] = ..., records_done: _Optional[int] = ..., records_total: _Optional[int] = ..., tasks_done: _Optional[int] = ..., tasks_total: _Optional[int] = ..., tasks_retried: _Optional[int] = ..., records_per_second: _Optional[float] = ..., step: _Optional[int] = ..., losses: _Optional[_Iterable[_Union[LossPoint, _Mapping]]] = ..., evaluations: _Optional[_Iterable[_Union[Evaluation, _Mapping]]] = ..., instances: _Optional[_Iterable[_Union[Instance, _Mapping]]] = ..., events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., started_at: _Optional[float] = ..., updated_at: _Optional[float] = ..., finished_at: _Optional[float] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., outputs: _Optional[_Iterable[str]] = ..., distribution_strategy: _Optional[str] = ..., dashboard_url: _Optional[str] = ..., num_workers: _Optional[int] = ..., num_ps: _Optional[int] = ..., rollbacks: _Optional[int] = ..., checkpoint_step: _Optional[int] = ..., tasks_set_aside: _Optional[int] = ..., records_set_aside: _Optional[int] = ..., set_aside: _Optional[_Iterable[_Union[SetAside, _Mapping]]] = ..., history: _Optional[_Iterable[_Union[EpochEnded, _Mapping]]] = ..., kept_checkpoints: _Optional[_Iterable[int]] = ..., windows: _Optional[_Iterable[_Union[Window, _Mapping]]] = ..., records_untested: _Optional[int] = ..., alarms: _Optional[_Iterable[_Union[Alarm, _Mapping]]] = ..., records_malformed: _Optional[int] = ..., records_expired: _Optional[int] = ..., records_behind: _Optional[int] = ..., records_late: _Optional[int] = ..., records_late_passed: _Optional[int] = ..., event_time: _Optional[float] = ..., event_time_oldest: _Optional[float] = ..., lag_seconds: _Optional[float] = ...) -> None: ...

class SetAside(_message.Message):
    __slots__ = ("ranges", "epoch", "reason")
    RANGES_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ranges: _containers.RepeatedCompositeFieldContainer[Range]
    epoch: int
    reason: str
    def __init__(self, ranges: _Optional[_Iterable[_Union[Range, _Mapping]]] = ..., epoch: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("waiting", "interval")
    WAITING_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    waiting: bool
    interval: float
    def __init__(self, waiting: _Optional[bool] = ..., interval: _Optional[float] = ...) -> None: ...

class JobUpdate(_message.Message):
    __slots__ = ("full", "status")
    FULL_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    full: bool
    status: JobStatus
    def __init__(self, full: _Optional[bool] = ..., status: _Optional[_Union[JobStatus, _Mapping]] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class CancelReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ScaleRequest(_message.Message):
    __slots__ = ("workers",)
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    workers: int
    def __init__(self, workers: _Optional[int] = ...) -> None: ...

class ScaleReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StopRequest(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class StopReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
