"""The store of one server through the generations of a job: declared by workers, rolled back by the master."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.compiled import give_back_compiler
from elasticdl_nb.runtime.errors import DataError, ElasticDLError
from elasticdl_nb.runtime.parameters.arrays import Array
from elasticdl_nb.runtime.parameters.checkpoints.compacting import Beside
from elasticdl_nb.runtime.parameters.checkpoints.converting import Conversion, Declared
from elasticdl_nb.runtime.parameters.checkpoints.deltas import NO_DELTAS, Capture, Chains, Deltas
from elasticdl_nb.runtime.parameters.checkpoints.local import checkpoint_version, is_of_trained_model, read_checkpoint
from elasticdl_nb.runtime.parameters.optimizers.generic import generic_optimizer, keras_optimizer
from elasticdl_nb.runtime.parameters.optimizers.rules import ServerOptimizer, has_compiled_rule, optimizer_from_config
from elasticdl_nb.runtime.parameters.partition import Slice
from elasticdl_nb.runtime.parameters.store import ParameterStore, UpdatePolicy, warm_up
from elasticdl_nb.runtime.parameters.table import TableSpec
from elasticdl_nb.runtime.spec.tableoptions import FLOAT32

MakeOptimizer = Callable[[Mapping[str, Any]], Any]


class StoreService:
    """A `ParameterStore` that is created once a worker has declared the model.

    `make_optimizer` returns the user's own optimizer object, for optimizers without a compiled rule. The file
    `remembered` tells the servers that come later which optimizer the job has. `deltas` says what its checkpoints may
    build on, and `beside` runs work beside the calls, which come from one thread: see `Chains`.
    """

    def __init__(
        self,
        policy: UpdatePolicy | None = None,
        *,
        server: int = 0,
        servers: int = 1,
        make_optimizer: MakeOptimizer = keras_optimizer,
        remembered: Path | None = None,
        deltas: Deltas = NO_DELTAS,
        beside: Beside | None = None,
    ) -> None:
        self.server = server
        self.servers = servers
        self.generation = 0
        self._policy = policy
        self._make_optimizer = make_optimizer
        self._remembered = remembered
        self._config: dict[str, Any] | None = None
        self._checkpoint = ""
        self._keep_version = True
        self._restored = False
        self._store: ParameterStore | None = None
        self._new_chains = partial(Chains, deltas, server, servers, beside)
        self._chains = self._new_chains()

    @property
    def store(self) -> ParameterStore:
        """The store; raises DataError until a model is declared."""
        if self._store is None:
            raise DataError(f"parameter server {self.server} holds no model yet: a worker must declare it first")
        return self._store

    @property
    def declared(self) -> bool:
        """Whether there is a model."""
        return self._store is not None

    @property
    def keeps_pushes(self) -> bool:
        """Whether gradients may be kept after a push, until others have come."""
        return self._policy is not None and self._policy.grads_to_wait > 1

    def warm_up(self) -> None:
        """Get ready for the job's optimizer, if it is known already, rather than once a worker declares the model."""
        if self._remembered is None or self._config is not None:
            return
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, ElasticDLError):
            config = json.loads(self._remembered.read_text())
            if has_compiled_rule(config):
                self._optimizer(config)
                self._config = config

    def begin(self, generation: int, checkpoint: str | os.PathLike[str] = "", *, keep_version: bool = True) -> int:
        """Forget everything; continue from a checkpoint's folder, or from nothing. Return the version then.

        Without `keep_version`, versions count from 0 again. A server that does not know the optimizer yet reads the
        checkpoint when a worker declares the model. Raises DataError for a checkpoint that cannot be used; the server
        then holds no model.
        """
        self._store = None
        self._chains.stop()
        self._chains = self._new_chains()  # what was written is of another history
        self._restored = False
        self.generation = generation
        self._checkpoint = os.fspath(checkpoint)
        self._keep_version = keep_version
        if not self._checkpoint:
            return 0
        version = checkpoint_version(Path(self._checkpoint))
        if self._config is not None and keep_version:  # another job's checkpoint is read for a worker's model
            self._start(self._config, Declared())
        return version if keep_version else 0

    def initialize(
        self, optimizer: Mapping[str, Any], dense: Mapping[str, Array], tables: Sequence[TableSpec]
    ) -> ParameterStore:
        """Take a worker's declaration, with initial values by slice key; see `ParameterServers.initialize`."""
        if self._store is None:
            self._start(dict(optimizer), Declared(tables, dense))
            for dtype in {spec.row_dtype for spec in tables} - {FLOAT32}:
                if has_compiled_rule(optimizer):
                    warm_up(self.store.optimizer, dtype)
        if self._restored and not is_of_trained_model(Path(self._checkpoint)):
            self._check_same_model(dense, tables)
        self.store.initialize(dense)
        for spec in tables:
            self.store.add_table(spec)
        return self.store

    def capture(self, folder: Path) -> Capture:
        """Return the state as of this call, to be written into the folder of a checkpoint; see `Chains.capture`."""
        return self._chains.capture(self.store, folder)

    def _start(self, config: dict[str, Any], declared: Declared) -> None:
        optimizer = self._optimizer(config)
        store = ParameterStore(optimizer, self._policy, server=self.server, servers=self.servers)
        if self._checkpoint:
            path, slots = Path(self._checkpoint), [slot.name for slot in optimizer.rule.slots]
            if self._keep_version:
                store.restore(read_checkpoint(path, slots, self.server, self.servers))
                self._chains.continue_from(store, path)
            else:
                initial = [slot.initial for slot in optimizer.rule.slots]
                files = read_checkpoint(path, slots, self.server, self.servers, all_files=True)
                store.restore(Conversion(declared, initial, partly=is_of_trained_model(path)).files(files))
                store.count_from_zero()
            self._restored = True
        self._store, self._config = store, config

    def _optimizer(self, config: dict[str, Any]) -> ServerOptimizer:
        if not has_compiled_rule(config):
            return generic_optimizer(lambda: self._make_optimizer(config))
        optimizer = optimizer_from_config(config)
        if config != self._config:
            warm_up(optimizer)
            give_back_compiler()
            if self._remembered is not None:
                with contextlib.suppress(OSError):
                    durable.write(self._remembered, json.dumps(config).encode(), flush=False)
        return optimizer

    def _check_same_model(self, dense: Mapping[str, Array], tables: Sequence[TableSpec]) -> None:
        held = {Slice.parse(key).name: Slice.parse(key).size for key in self.store.pull()}
        for spec in tables:
            if spec.name not in self.store.tables and f"{spec.name}/embeddings" in held:
                raise DataError(
                    f"the checkpoint {self._checkpoint} has the embedding {spec.name} as an ordinary layer, which "
                    "cannot be read into a table; start without the checkpoint"
                )
        for key in dense:
            piece = Slice.parse(key)
            size = held.get(piece.name)
            if size != piece.size:
                has = "does not have it" if size is None else f"has {size}"
                raise DataError(
                    f"the checkpoint {self._checkpoint} is of another model: variable {piece.name} has {piece.size} "
                    f"values in this one, the checkpoint {has}. Use the checkpoint's model, or start without it"
                )
