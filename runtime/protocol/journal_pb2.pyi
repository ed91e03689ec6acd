from elasticdl_nb.runtime.protocol import master_pb2 as _master_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Turn(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, entries: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("now", "date", "started", "recovered", "data_counted", "greeted", "said", "exited", "lost", "stuck", "scaled", "cancelled", "failed", "checkpoint_begun", "checkpoint_committed", "checkpoint_failed", "ticked", "runs", "noted", "data_grew", "stop_asked")
    NOW_FIELD_NUMBER: _ClassVar[int]
    DATE_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    RECOVERED_FIELD_NUMBER: _ClassVar[int]
    DATA_COUNTED_FIELD_NUMBER: _ClassVar[int]
    GREETED_FIELD_NUMBER: _ClassVar[int]
    SAID_FIELD_NUMBER: _ClassVar[int]
    EXITED_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    STUCK_FIELD_NUMBER: _ClassVar[int]
    SCALED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_BEGUN_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_COMMITTED_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FAILED_FIELD_NUMBER: _ClassVar[int]
    TICKED_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    NOTED_FIELD_NUMBER: _ClassVar[int]
    DATA_GREW_FIELD_NUMBER: _ClassVar[int]
    STOP_ASKED_FIELD_NUMBER: _ClassVar[int]
    now: float
    date: float
    started: Started
    recovered: Recovered
    data_counted: DataCounted
    greeted: Greeted
    said: Said
    exited: Exited
    lost: Lost
    stuck: Stuck
    scaled: Scaled
    cancelled: Cancelled
    failed: Failed
    checkpoint_begun: CheckpointBegun
    checkpoint_committed: CheckpointCommitted
    checkpoint_failed: CheckpointFailed
    ticked: Ticked
    runs: Runs
    noted: Noted
    data_grew: DataGrew
    stop_asked: StopAsked
    def __init__(self, now: _Optional[float] = ..., date: _Optional[float] = ..., started: _Optional[_Union[Started, _Mapping]] = ..., recovered: _Optional[_Union[Recovered, _Mapping]] = ..., data_counted: _Optional[_Union[DataCounted, _Mapping]] = ..., greeted: _Optional[_Union[Greeted, _Mapping]] = ..., said: _Optional[_Union[Said, _Mapping]] = ..., exited: _Optional[_Union[Exited, _Mapping]] = ..., lost: _Optional[_Union[Lost, _Mapping]] = ..., stuck: _Optional[_Union[Stuck, _Mapping]] = ..., scaled: _Optional[_Union[Scaled, _Mapping]] = ..., cancelled: _Optional[_Union[Cancelled, _Mapping]] = ..., failed: _Optional[_Union[Failed, _Mapping]] = ..., checkpoint_begun: _Optional[_Union[CheckpointBegun, _Mapping]] = ..., checkpoint_committed: _Optional[_Union[CheckpointCommitted, _Mapping]] = ..., checkpoint_failed: _Optional[_Union[CheckpointFailed, _Mapping]] = ..., ticked: _Optional[_Union[Ticked, _Mapping]] = ..., runs: _Optional[_Union[Runs, _Mapping]] = ..., noted: _Optional[_Union[Noted, _Mapping]] = ..., data_grew: _Optional[_Union[DataGrew, _Mapping]] = ..., stop_asked: _Optional[_Union[StopAsked, _Mapping]] = ...) -> None: ...

class Process(_message.Message):
    __slots__ = ("role", "index", "incarnation")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    role: str
    index: int
    incarnation: str
    def __init__(self, role: _Optional[str] = ..., index: _Optional[int] = ..., incarnation: _Optional[str] = ...) -> None: ...

class Started(_message.Message):
    __slots__ = ("initial", "problem")
    INITIAL_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    initial: _containers.RepeatedScalarFieldContainer[str]
    problem: str
    def __init__(self, initial: _Optional[_Iterable[str]] = ..., problem: _Optional[str] = ...) -> None: ...

class Recovered(_message.Message):
    __slots__ = ("living",)
    LIVING_FIELD_NUMBER: _ClassVar[int]
    living: _containers.RepeatedCompositeFieldContainer[Process]
    def __init__(self, living: _Optional[_Iterable[_Union[Process, _Mapping]]] = ...) -> None: ...

class DataCounted(_message.Message):
    __slots__ = ("data", "validation")
    DATA_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    data: _containers.RepeatedCompositeFieldContainer[_master_pb2.Shard]
    validation: _containers.RepeatedCompositeFieldContainer[_master_pb2.Shard]
    def __init__(self, data: _Optional[_Iterable[_Union[_master_pb2.Shard, _Mapping]]] = ..., validation: _Optional[_Iterable[_Union[_master_pb2.Shard, _Mapping]]] = ...) -> None: ...

class DataGrew(_message.Message):
    __slots__ = ("data", "last")
    DATA_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    data: _containers.RepeatedCompositeFieldContainer[_master_pb2.Shard]
    last: bool
    def __init__(self, data: _Optional[_Iterable[_Union[_master_pb2.Shard, _Mapping]]] = ..., last: _Optional[bool] = ...) -> None: ...

class StopAsked(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class Greeted(_message.Message):
    __slots__ = ("hello",)
    HELLO_FIELD_NUMBER: _ClassVar[int]
    hello: _master_pb2.Hello
    def __init__(self, hello: _Optional[_Union[_master_pb2.Hello, _Mapping]] = ...) -> None: ...

class Said(_message.Message):
    __slots__ = ("process", "message")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    process: Process
    message: _master_pb2.WorkerMessage
    def __init__(self, process: _Optional[_Union[Process, _Mapping]] = ..., message: _Optional[_Union[_master_pb2.WorkerMessage, _Mapping]] = ...) -> None: ...

class Noted(_message.Message):
    __slots__ = ("level", "text")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    level: str
    text: str
    def __init__(self, level: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class Exited(_message.Message):
    __slots__ = ("process", "code", "log_tail")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    LOG_TAIL_FIELD_NUMBER: _ClassVar[int]
    process: Process
    code: int
    log_tail: str
    def __init__(self, process: _Optional[_Union[Process, _Mapping]] = ..., code: _Optional[int] = ..., log_tail: _Optional[str] = ...) -> None: ...

class Lost(_message.Message):
    __slots__ = ("process", "reason", "counts", "log_tail")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    LOG_TAIL_FIELD_NUMBER: _ClassVar[int]
    process: Process
    reason: str
    counts: bool
    log_tail: str
    def __init__(self, process: _Optional[_Union[Process, _Mapping]] = ..., reason: _Optional[str] = ..., counts: _Optional[bool] = ..., log_tail: _Optional[str] = ...) -> None: ...

class Stuck(_message.Message):
    __slots__ = ("process", "reason")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    process: Process
    reason: str
    def __init__(self, process: _Optional[_Union[Process, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class Runs(_message.Message):
    __slots__ = ("process",)
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    process: Process
    def __init__(self, process: _Optional[_Union[Process, _Mapping]] = ...) -> None: ...

class Scaled(_message.Message):
    __slots__ = ("workers",)
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    workers: int
    def __init__(self, workers: _Optional[int] = ...) -> None: ...

class Cancelled(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class Failed(_message.Message):
    __slots__ = ("failure",)
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    failure: _master_pb2.Failure
    def __init__(self, failure: _Optional[_Union[_master_pb2.Failure, _Mapping]] = ...) -> None: ...

class CheckpointBegun(_message.Message):
    __slots__ = ("number", "path")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    number: int
    path: str
    def __init__(self, number: _Optional[int] = ..., path: _Optional[str] = ...) -> None: ...

class CheckpointCommitted(_message.Message):
    __slots__ = ("path", "final", "kept")
    PATH_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    path: str
    final: str
    kept: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, path: _Optional[str] = ..., final: _Optional[str] = ..., kept: _Optional[_Iterable[str]] = ...) -> None: ...

class CheckpointFailed(_message.Message):
    __slots__ = ("path", "problem")
    PATH_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    path: str
    problem: str
    def __init__(self, path: _Optional[str] = ..., problem: _Optional[str] = ...) -> None: ...

class Ticked(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class State(_message.Message):
    __slots__ = ("now", "date", "phase", "started_at", "finished_at", "failure", "ending", "picture", "workers", "running_since", "outputs", "queue", "step", "rollbacks", "tasks_total", "records_total", "steps_total", "evaluations", "checkpoints", "committing", "data_is_counted", "stragglers", "finish_added", "parts", "hungry", "servers", "ring", "oldest_epoch", "initial", "unwritten_checkpoints", "next_checkpoint_at", "borders", "epoch_parts", "files_found", "stopping", "windows", "reached")
    class ReachedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NOW_FIELD_NUMBER: _ClassVar[int]
    DATE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    ENDING_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_SINCE_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ROLLBACKS_FIELD_NUMBER: _ClassVar[int]
    TASKS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    RECORDS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    STEPS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    EVALUATIONS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    COMMITTING_FIELD_NUMBER: _ClassVar[int]
    DATA_IS_COUNTED_FIELD_NUMBER: _ClassVar[int]
    STRAGGLERS_FIELD_NUMBER: _ClassVar[int]
    FINISH_ADDED_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    HUNGRY_FIELD_NUMBER: _ClassVar[int]
    SERVERS_FIELD_NUMBER: _ClassVar[int]
    RING_FIELD_NUMBER: _ClassVar[int]
    OLDEST_EPOCH_FIELD_NUMBER: _ClassVar[int]
    INITIAL_FIELD_NUMBER: _ClassVar[int]
    UNWRITTEN_CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CHECKPOINT_AT_FIELD_NUMBER: _ClassVar[int]
    BORDERS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_PARTS_FIELD_NUMBER: _ClassVar[int]
    FILES_FOUND_FIELD_NUMBER: _ClassVar[int]
    STOPPING_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    REACHED_FIELD_NUMBER: _ClassVar[int]
    now: float
    date: float
    phase: _master_pb2.JobPhase
    started_at: float
    finished_at: float
    failure: _master_pb2.Failure
    ending: Ending
    picture: Picture
    workers: _containers.RepeatedCompositeFieldContainer[Member]
    running_since: float
    outputs: _containers.RepeatedScalarFieldContainer[str]
    queue: Queue
    step: int
    rollbacks: int
    tasks_total: int
    records_total: int
    steps_total: int
    evaluations: Evaluations
    checkpoints: _containers.RepeatedCompositeFieldContainer[Checkpoint]
    committing: _containers.RepeatedCompositeFieldContainer[Checkpoint]
    data_is_counted: bool
    stragglers: Stragglers
    finish_added: bool
    parts: int
    hungry: _containers.RepeatedScalarFieldContainer[int]
    servers: Servers
    ring: Ring
    oldest_epoch: int
    initial: _containers.RepeatedScalarFieldContainer[str]
    unwritten_checkpoints: int
    next_checkpoint_at: float
    borders: Borders
    epoch_parts: _containers.RepeatedCompositeFieldContainer[EpochPart]
    files_found: int
    stopping: bool
    windows: Windows
    reached: _containers.ScalarMap[str, int]
    def __init__(self, now: _Optional[float] = ..., date: _Optional[float] = ..., phase: _Optional[_Union[_master_pb2.JobPhase, str]] = ..., started_at: _Optional[float] = ..., finished_at: _Optional[float] = ..., failure: _Optional[_Union[_master_pb2.Failure, _Mapping]] = ..., ending: _Optional[_Union[Ending, _Mapping]] = ..., picture: _Optional[_Union[Picture, _Mapping]] = ..., workers: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., running_since: _Optional[float] = ..., outputs: _Optional[_Iterable[str]] = ..., queue: _Optional[_Union[Queue, _Mapping]] = ..., step: _Optional[int] = ..., rollbacks: _Optional[int] = ..., tasks_total: _Optional[int] = ..., records_total: _Optional[int] = ..., steps_total: _Optional[int] = ..., evaluations: _Optional[_Union[Evaluations, _Mapping]] = ..., checkpoints: _Optional[_Iterable[_Union[Checkpoint, _Mapping]]] = ..., committing: _Optional[_Iterable[_Union[Checkpoint, _Mapping]]] = ..., data_is_counted: _Optional[bool] = ..., stragglers: _Optional[_Union[Stragglers, _Mapping]] = ..., finish_added: _Optional[bool] = ..., parts: _Optional[int] = ..., hungry: _Optional[_Iterable[int]] = ..., servers: _Optional[_Union[Servers, _Mapping]] = ..., ring: _Optional[_Union[Ring, _Mapping]] = ..., oldest_epoch: _Optional[int] = ..., initial: _Optional[_Iterable[str]] = ..., unwritten_checkpoints: _Optional[int] = ..., next_checkpoint_at: _Optional[float] = ..., borders: _Optional[_Union[Borders, _Mapping]] = ..., epoch_parts: _Optional[_Iterable[_Union[EpochPart, _Mapping]]] = ..., files_found: _Optional[int] = ..., stopping: _Optional[bool] = ..., windows: _Optional[_Union[Windows, _Mapping]] = ..., reached: _Optional[_Mapping[str, int]] = ...) -> None: ...

class Windows(_message.Message):
    __slots__ = ("open", "closed", "tested", "untested", "alarms", "watched")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    TESTED_FIELD_NUMBER: _ClassVar[int]
    UNTESTED_FIELD_NUMBER: _ClassVar[int]
    ALARMS_FIELD_NUMBER: _ClassVar[int]
    WATCHED_FIELD_NUMBER: _ClassVar[int]
    open: EvaluationRound
    closed: _containers.RepeatedCompositeFieldContainer[ClosedWindow]
    tested: int
    untested: int
    alarms: _containers.RepeatedCompositeFieldContainer[_master_pb2.Alarm]
    watched: int
    def __init__(self, open: _Optional[_Union[EvaluationRound, _Mapping]] = ..., closed: _Optional[_Iterable[_Union[ClosedWindow, _Mapping]]] = ..., tested: _Optional[int] = ..., untested: _Optional[int] = ..., alarms: _Optional[_Iterable[_Union[_master_pb2.Alarm, _Mapping]]] = ..., watched: _Optional[int] = ...) -> None: ...

class ClosedWindow(_message.Message):
    __slots__ = ("sums", "tested")
    SUMS_FIELD_NUMBER: _ClassVar[int]
    TESTED_FIELD_NUMBER: _ClassVar[int]
    sums: EvaluationRound
    tested: int
    def __init__(self, sums: _Optional[_Union[EvaluationRound, _Mapping]] = ..., tested: _Optional[int] = ...) -> None: ...

class Borders(_message.Message):
    __slots__ = ("exist", "number", "state", "learning_rate", "host", "asked", "over", "evaluates", "evaluation")
    class EvaluationEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    EXIST_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    OVER_FIELD_NUMBER: _ClassVar[int]
    EVALUATES_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    exist: bool
    number: int
    state: str
    learning_rate: float
    host: int
    asked: bool
    over: bool
    evaluates: bool
    evaluation: _containers.ScalarMap[str, float]
    def __init__(self, exist: _Optional[bool] = ..., number: _Optional[int] = ..., state: _Optional[str] = ..., learning_rate: _Optional[float] = ..., host: _Optional[int] = ..., asked: _Optional[bool] = ..., over: _Optional[bool] = ..., evaluates: _Optional[bool] = ..., evaluation: _Optional[_Mapping[str, float]] = ...) -> None: ...

class EpochPart(_message.Message):
    __slots__ = ("process", "so_far")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    SO_FAR_FIELD_NUMBER: _ClassVar[int]
    process: str
    so_far: _master_pb2.EpochEnded
    def __init__(self, process: _Optional[str] = ..., so_far: _Optional[_Union[_master_pb2.EpochEnded, _Mapping]] = ...) -> None: ...

class Ending(_message.Message):
    __slots__ = ("phase", "deadline")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    phase: _master_pb2.JobPhase
    deadline: float
    def __init__(self, phase: _Optional[_Union[_master_pb2.JobPhase, str]] = ..., deadline: _Optional[float] = ...) -> None: ...

class Picture(_message.Message):
    __slots__ = ("revision", "losses", "evaluations", "events", "history", "windows")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    EVALUATIONS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    revision: int
    losses: _containers.RepeatedCompositeFieldContainer[_master_pb2.LossPoint]
    evaluations: _containers.RepeatedCompositeFieldContainer[_master_pb2.Evaluation]
    events: _containers.RepeatedCompositeFieldContainer[_master_pb2.Event]
    history: _containers.RepeatedCompositeFieldContainer[_master_pb2.EpochEnded]
    windows: _containers.RepeatedCompositeFieldContainer[_master_pb2.Window]
    def __init__(self, revision: _Optional[int] = ..., losses: _Optional[_Iterable[_Union[_master_pb2.LossPoint, _Mapping]]] = ..., evaluations: _Optional[_Iterable[_Union[_master_pb2.Evaluation, _Mapping]]] = ..., events: _Optional[_Iterable[_Union[_master_pb2.Event, _Mapping]]] = ..., history: _Optional[_Iterable[_Union[_master_pb2.EpochEnded, _Mapping]]] = ..., windows: _Optional[_Iterable[_Union[_master_pb2.Window, _Mapping]]] = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("index", "state", "incarnation", "activity", "obstacle", "pid", "restarts", "last_heard", "acknowledged", "room", "leave_by", "tasks_done", "records_before", "records_now", "deaths_in_a_row", "kills_in_a_row", "rate", "address", "generation", "rows", "bytes", "admitted", "evicted", "exchanging", "hidden")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    ACTIVITY_FIELD_NUMBER: _ClassVar[int]
    OBSTACLE_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    LAST_HEARD_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    ROOM_FIELD_NUMBER: _ClassVar[int]
    LEAVE_BY_FIELD_NUMBER: _ClassVar[int]
    TASKS_DONE_FIELD_NUMBER: _ClassVar[int]
    RECORDS_BEFORE_FIELD_NUMBER: _ClassVar[int]
    RECORDS_NOW_FIELD_NUMBER: _ClassVar[int]
    DEATHS_IN_A_ROW_FIELD_NUMBER: _ClassVar[int]
    KILLS_IN_A_ROW_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    ADMITTED_FIELD_NUMBER: _ClassVar[int]
    EVICTED_FIELD_NUMBER: _ClassVar[int]
    EXCHANGING_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    index: int
    state: str
    incarnation: str
    activity: str
    obstacle: str
    pid: int
    restarts: int
    last_heard: float
    acknowledged: int
    room: int
    leave_by: float
    tasks_done: int
    records_before: int
    records_now: int
    deaths_in_a_row: int
    kills_in_a_row: int
    rate: _containers.RepeatedCompositeFieldContainer[Sample]
    address: str
    generation: int
    rows: int
    bytes: int
    admitted: int
    evicted: int
    exchanging: float
    hidden: float
    def __init__(self, index: _Optional[int] = ..., state: _Optional[str] = ..., incarnation: _Optional[str] = ..., activity: _Optional[str] = ..., obstacle: _Optional[str] = ..., pid: _Optional[int] = ..., restarts: _Optional[int] = ..., last_heard: _Optional[float] = ..., acknowledged: _Optional[int] = ..., room: _Optional[int] = ..., leave_by: _Optional[float] = ..., tasks_done: _Optional[int] = ..., records_before: _Optional[int] = ..., records_now: _Optional[int] = ..., deaths_in_a_row: _Optional[int] = ..., kills_in_a_row: _Optional[int] = ..., rate: _Optional[_Iterable[_Union[Sample, _Mapping]]] = ..., address: _Optional[str] = ..., generation: _Optional[int] = ..., rows: _Optional[int] = ..., bytes: _Optional[int] = ..., admitted: _Optional[int] = ..., evicted: _Optional[int] = ..., exchanging: _Optional[float] = ..., hidden: _Optional[float] = ...) -> None: ...

class Sample(_message.Message):
    __slots__ = ("now", "total")
    NOW_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    now: float
    total: float
    def __init__(self, now: _Optional[float] = ..., total: _Optional[float] = ...) -> None: ...

class Queue(_message.Message):
    __slots__ = ("pieces", "epoch", "position", "steps", "order", "stopped", "records_done", "tasks_done", "tasks_retried", "next_id", "urgent", "doing", "holders", "hands", "suspects", "growing", "forgotten", "begun_by_dead", "learnt")
    class RecordsDoneEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class TasksDoneEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    PIECES_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    STOPPED_FIELD_NUMBER: _ClassVar[int]
    RECORDS_DONE_FIELD_NUMBER: _ClassVar[int]
    TASKS_DONE_FIELD_NUMBER: _ClassVar[int]
    TASKS_RETRIED_FIELD_NUMBER: _ClassVar[int]
    NEXT_ID_FIELD_NUMBER: _ClassVar[int]
    URGENT_FIELD_NUMBER: _ClassVar[int]
    DOING_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    HANDS_FIELD_NUMBER: _ClassVar[int]
    SUSPECTS_FIELD_NUMBER: _ClassVar[int]
    GROWING_FIELD_NUMBER: _ClassVar[int]
    FORGOTTEN_FIELD_NUMBER: _ClassVar[int]
    BEGUN_BY_DEAD_FIELD_NUMBER: _ClassVar[int]
    LEARNT_FIELD_NUMBER: _ClassVar[int]
    pieces: Pieces
    epoch: int
    position: int
    steps: int
    order: _containers.RepeatedScalarFieldContainer[int]
    stopped: bool
    records_done: _containers.ScalarMap[str, int]
    tasks_done: _containers.ScalarMap[str, int]
    tasks_retried: int
    next_id: int
    urgent: Tasks
    doing: Tasks
    holders: _containers.RepeatedCompositeFieldContainer[Holders]
    hands: _containers.RepeatedCompositeFieldContainer[Hand]
    suspects: Suspects
    growing: bool
    forgotten: int
    begun_by_dead: _containers.RepeatedScalarFieldContainer[int]
    learnt: _containers.RepeatedCompositeFieldContainer[_master_pb2.LastRecord]
    def __init__(self, pieces: _Optional[_Union[Pieces, _Mapping]] = ..., epoch: _Optional[int] = ..., position: _Optional[int] = ..., steps: _Optional[int] = ..., order: _Optional[_Iterable[int]] = ..., stopped: _Optional[bool] = ..., records_done: _Optional[_Mapping[str, int]] = ..., tasks_done: _Optional[_Mapping[str, int]] = ..., tasks_retried: _Optional[int] = ..., next_id: _Optional[int] = ..., urgent: _Optional[_Union[Tasks, _Mapping]] = ..., doing: _Optional[_Union[Tasks, _Mapping]] = ..., holders: _Optional[_Iterable[_Union[Holders, _Mapping]]] = ..., hands: _Optional[_Iterable[_Union[Hand, _Mapping]]] = ..., suspects: _Optional[_Union[Suspects, _Mapping]] = ..., growing: _Optional[bool] = ..., forgotten: _Optional[int] = ..., begun_by_dead: _Optional[_Iterable[int]] = ..., learnt: _Optional[_Iterable[_Union[_master_pb2.LastRecord, _Mapping]]] = ...) -> None: ...

class Suspects(_message.Message):
    __slots__ = ("crashed", "set_aside", "in_a_row")
    CRASHED_FIELD_NUMBER: _ClassVar[int]
    SET_ASIDE_FIELD_NUMBER: _ClassVar[int]
    IN_A_ROW_FIELD_NUMBER: _ClassVar[int]
    crashed: _containers.RepeatedCompositeFieldContainer[Suspect]
    set_aside: _containers.RepeatedCompositeFieldContainer[Suspect]
    in_a_row: int
    def __init__(self, crashed: _Optional[_Iterable[_Union[Suspect, _Mapping]]] = ..., set_aside: _Optional[_Iterable[_Union[Suspect, _Mapping]]] = ..., in_a_row: _Optional[int] = ...) -> None: ...

class Suspect(_message.Message):
    __slots__ = ("kind", "round", "index", "crashes", "spans", "skip", "reason")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    CRASHES_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    kind: _master_pb2.TaskKind
    round: int
    index: int
    crashes: int
    spans: Pieces
    skip: int
    reason: str
    def __init__(self, kind: _Optional[_Union[_master_pb2.TaskKind, str]] = ..., round: _Optional[int] = ..., index: _Optional[int] = ..., crashes: _Optional[int] = ..., spans: _Optional[_Union[Pieces, _Mapping]] = ..., skip: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Holders(_message.Message):
    __slots__ = ("workers",)
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    workers: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, workers: _Optional[_Iterable[int]] = ...) -> None: ...

class Hand(_message.Message):
    __slots__ = ("worker", "tasks")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    worker: int
    tasks: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, worker: _Optional[int] = ..., tasks: _Optional[_Iterable[int]] = ...) -> None: ...

class Pieces(_message.Message):
    __slots__ = ("paths", "lengths", "spans")
    PATHS_FIELD_NUMBER: _ClassVar[int]
    LENGTHS_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    paths: _containers.RepeatedScalarFieldContainer[str]
    lengths: _containers.RepeatedScalarFieldContainer[int]
    spans: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, paths: _Optional[_Iterable[str]] = ..., lengths: _Optional[_Iterable[int]] = ..., spans: _Optional[_Iterable[int]] = ...) -> None: ...

class Tasks(_message.Message):
    __slots__ = ("id", "kind", "spans", "epoch", "index", "evaluation", "summarize", "ends_epoch", "attempt", "failures", "skip")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    SUMMARIZE_FIELD_NUMBER: _ClassVar[int]
    ENDS_EPOCH_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    id: _containers.RepeatedScalarFieldContainer[int]
    kind: _containers.RepeatedScalarFieldContainer[_master_pb2.TaskKind]
    spans: Pieces
    epoch: _containers.RepeatedScalarFieldContainer[int]
    index: _containers.RepeatedScalarFieldContainer[int]
    evaluation: _containers.RepeatedScalarFieldContainer[int]
    summarize: _containers.RepeatedScalarFieldContainer[bool]
    ends_epoch: _containers.RepeatedScalarFieldContainer[bool]
    attempt: _containers.RepeatedScalarFieldContainer[int]
    failures: _containers.RepeatedScalarFieldContainer[int]
    skip: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, id: _Optional[_Iterable[int]] = ..., kind: _Optional[_Iterable[_Union[_master_pb2.TaskKind, str]]] = ..., spans: _Optional[_Union[Pieces, _Mapping]] = ..., epoch: _Optional[_Iterable[int]] = ..., index: _Optional[_Iterable[int]] = ..., evaluation: _Optional[_Iterable[int]] = ..., summarize: _Optional[_Iterable[bool]] = ..., ends_epoch: _Optional[_Iterable[bool]] = ..., attempt: _Optional[_Iterable[int]] = ..., failures: _Optional[_Iterable[int]] = ..., skip: _Optional[_Iterable[int]] = ...) -> None: ...

class Evaluations(_message.Message):
    __slots__ = ("pieces", "enabled", "handed_out", "evaluated_at", "started", "metrics", "rounds")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    PIECES_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    HANDED_OUT_FIELD_NUMBER: _ClassVar[int]
    EVALUATED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    pieces: Pieces
    enabled: bool
    handed_out: int
    evaluated_at: int
    started: int
    metrics: _containers.ScalarMap[str, float]
    rounds: _containers.RepeatedCompositeFieldContainer[EvaluationRound]
    def __init__(self, pieces: _Optional[_Union[Pieces, _Mapping]] = ..., enabled: _Optional[bool] = ..., handed_out: _Optional[int] = ..., evaluated_at: _Optional[int] = ..., started: _Optional[int] = ..., metrics: _Optional[_Mapping[str, float]] = ..., rounds: _Optional[_Iterable[_Union[EvaluationRound, _Mapping]]] = ...) -> None: ...

class EvaluationRound(_message.Message):
    __slots__ = ("number", "tasks_left", "step", "records", "states")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TASKS_LEFT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    number: int
    tasks_left: int
    step: int
    records: int
    states: _containers.RepeatedCompositeFieldContainer[_master_pb2.MetricState]
    def __init__(self, number: _Optional[int] = ..., tasks_left: _Optional[int] = ..., step: _Optional[int] = ..., records: _Optional[int] = ..., states: _Optional[_Iterable[_Union[_master_pb2.MetricState, _Mapping]]] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("path", "step", "state", "sealed", "number")
    PATH_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    path: str
    step: int
    state: str
    sealed: bool
    number: int
    def __init__(self, path: _Optional[str] = ..., step: _Optional[int] = ..., state: _Optional[str] = ..., sealed: _Optional[bool] = ..., number: _Optional[int] = ...) -> None: ...

class Stragglers(_message.Message):
    __slots__ = ("to_share", "handed_out", "free_since", "durations")
    class FreeSinceEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: float
        def __init__(self, key: _Optional[int] = ..., value: _Optional[float] = ...) -> None: ...
    TO_SHARE_FIELD_NUMBER: _ClassVar[int]
    HANDED_OUT_FIELD_NUMBER: _ClassVar[int]
    FREE_SINCE_FIELD_NUMBER: _ClassVar[int]
    DURATIONS_FIELD_NUMBER: _ClassVar[int]
    to_share: _containers.RepeatedScalarFieldContainer[int]
    handed_out: _containers.RepeatedCompositeFieldContainer[HandedOut]
    free_since: _containers.ScalarMap[int, float]
    durations: _containers.RepeatedCompositeFieldContainer[Durations]
    def __init__(self, to_share: _Optional[_Iterable[int]] = ..., handed_out: _Optional[_Iterable[_Union[HandedOut, _Mapping]]] = ..., free_since: _Optional[_Mapping[int, float]] = ..., durations: _Optional[_Iterable[_Union[Durations, _Mapping]]] = ...) -> None: ...

class HandedOut(_message.Message):
    __slots__ = ("worker", "task", "kind", "at")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    worker: int
    task: int
    kind: str
    at: float
    def __init__(self, worker: _Optional[int] = ..., task: _Optional[int] = ..., kind: _Optional[str] = ..., at: _Optional[float] = ...) -> None: ...

class Durations(_message.Message):
    __slots__ = ("kind", "seconds")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    seconds: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, kind: _Optional[str] = ..., seconds: _Optional[_Iterable[float]] = ...) -> None: ...

class Servers(_message.Message):
    __slots__ = ("members", "generation", "restore_from", "keep_step", "round", "rounds", "saved_step", "saved_at")
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    RESTORE_FROM_FIELD_NUMBER: _ClassVar[int]
    KEEP_STEP_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    SAVED_STEP_FIELD_NUMBER: _ClassVar[int]
    SAVED_AT_FIELD_NUMBER: _ClassVar[int]
    members: _containers.RepeatedCompositeFieldContainer[Member]
    generation: int
    restore_from: str
    keep_step: bool
    round: Round
    rounds: int
    saved_step: int
    saved_at: float
    def __init__(self, members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., generation: _Optional[int] = ..., restore_from: _Optional[str] = ..., keep_step: _Optional[bool] = ..., round: _Optional[_Union[Round, _Mapping]] = ..., rounds: _Optional[int] = ..., saved_step: _Optional[int] = ..., saved_at: _Optional[float] = ...) -> None: ...

class Round(_message.Message):
    __slots__ = ("number", "begun_at", "workers", "stage", "servers", "step", "path", "state", "unwritten")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    BEGUN_AT_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    SERVERS_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    UNWRITTEN_FIELD_NUMBER: _ClassVar[int]
    number: int
    begun_at: float
    workers: _containers.RepeatedScalarFieldContainer[int]
    stage: str
    servers: _containers.RepeatedScalarFieldContainer[int]
    step: int
    path: str
    state: str
    unwritten: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, number: _Optional[int] = ..., begun_at: _Optional[float] = ..., workers: _Optional[_Iterable[int]] = ..., stage: _Optional[str] = ..., servers: _Optional[_Iterable[int]] = ..., step: _Optional[int] = ..., path: _Optional[str] = ..., state: _Optional[str] = ..., unwritten: _Optional[_Iterable[int]] = ...) -> None: ...

class Ring(_message.Message):
    __slots__ = ("rendezvous", "dealt", "turn", "without_work", "departed", "next_holder", "part_of_a_step", "began", "first_task", "lacking", "ring")
    class DepartedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    RENDEZVOUS_FIELD_NUMBER: _ClassVar[int]
    DEALT_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_WORK_FIELD_NUMBER: _ClassVar[int]
    DEPARTED_FIELD_NUMBER: _ClassVar[int]
    NEXT_HOLDER_FIELD_NUMBER: _ClassVar[int]
    PART_OF_A_STEP_FIELD_NUMBER: _ClassVar[int]
    BEGAN_FIELD_NUMBER: _ClassVar[int]
    FIRST_TASK_FIELD_NUMBER: _ClassVar[int]
    LACKING_FIELD_NUMBER: _ClassVar[int]
    RING_FIELD_NUMBER: _ClassVar[int]
    rendezvous: Rendezvous
    dealt: _containers.RepeatedCompositeFieldContainer[Dealt]
    turn: int
    without_work: _containers.RepeatedScalarFieldContainer[int]
    departed: _containers.ScalarMap[int, int]
    next_holder: int
    part_of_a_step: float
    began: bool
    first_task: int
    lacking: int
    ring: _master_pb2.MasterMessage
    def __init__(self, rendezvous: _Optional[_Union[Rendezvous, _Mapping]] = ..., dealt: _Optional[_Iterable[_Union[Dealt, _Mapping]]] = ..., turn: _Optional[int] = ..., without_work: _Optional[_Iterable[int]] = ..., departed: _Optional[_Mapping[int, int]] = ..., next_holder: _Optional[int] = ..., part_of_a_step: _Optional[float] = ..., began: _Optional[bool] = ..., first_task: _Optional[int] = ..., lacking: _Optional[int] = ..., ring: _Optional[_Union[_master_pb2.MasterMessage, _Mapping]] = ...) -> None: ...

class Dealt(_message.Message):
    __slots__ = ("worker", "tasks")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    worker: int
    tasks: Tasks
    def __init__(self, worker: _Optional[int] = ..., tasks: _Optional[_Union[Tasks, _Mapping]] = ...) -> None: ...

class Rendezvous(_message.Message):
    __slots__ = ("generation", "workers", "forming", "reports", "newcomers", "departed", "leaving")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    FORMING_FIELD_NUMBER: _ClassVar[int]
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    NEWCOMERS_FIELD_NUMBER: _ClassVar[int]
    DEPARTED_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    generation: int
    workers: _containers.RepeatedScalarFieldContainer[int]
    forming: bool
    reports: _containers.RepeatedCompositeFieldContainer[Report]
    newcomers: _containers.RepeatedCompositeFieldContainer[Newcomer]
    departed: _containers.RepeatedScalarFieldContainer[int]
    leaving: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, generation: _Optional[int] = ..., workers: _Optional[_Iterable[int]] = ..., forming: _Optional[bool] = ..., reports: _Optional[_Iterable[_Union[Report, _Mapping]]] = ..., newcomers: _Optional[_Iterable[_Union[Newcomer, _Mapping]]] = ..., departed: _Optional[_Iterable[int]] = ..., leaving: _Optional[_Iterable[int]] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("worker", "step", "has_model", "places")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    HAS_MODEL_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    worker: int
    step: int
    has_model: bool
    places: _containers.RepeatedCompositeFieldContainer[_master_pb2.Place]
    def __init__(self, worker: _Optional[int] = ..., step: _Optional[int] = ..., has_model: _Optional[bool] = ..., places: _Optional[_Iterable[_Union[_master_pb2.Place, _Mapping]]] = ...) -> None: ...

class Newcomer(_message.Message):
    __slots__ = ("worker", "since")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    worker: int
    since: float
    def __init__(self, worker: _Optional[int] = ..., since: _Optional[float] = ...) -> None: ...
