"""`Context`: what a statement works with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from elasticdl_nb.sql.engines import Engine
from elasticdl_nb.sql.engines.parameters import bind
from elasticdl_nb.sql.features.selection import Selection
from elasticdl_nb.sql.features.snapshots import snapshots
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.lexical import dialect_of, placeholders
from elasticdl_nb.sql.language.statements import Position
from elasticdl_nb.sql.models.asking import Asker
from elasticdl_nb.sql.models.store import ModelStore, StoredModel

if TYPE_CHECKING:
    from elasticdl_nb.job import Job


@dataclass(frozen=True)
class Context:
    """The database, the model store, and the arguments of the call that runs a statement.

    Model classes are looked up in `namespace`, `params` are the values for `:name`, and `on_job` gets the statement's
    job as soon as it runs. Without `wait`, a training continues after its statement has ended. `on_message` gets what
    users should know before the job starts.
    """

    engine: Engine
    store: ModelStore
    namespace: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    on_job: Callable[[Job], None] | None = None
    wait: bool = True
    on_message: Callable[[str], None] | None = None
    cleanup: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    """Gets what must be removed when the statement has ended."""

    def tell(self, messages: Iterable[str]) -> tuple[str, ...]:
        """Tell users these messages now, and return those that are left for the statement's result."""
        if self.on_message is None:
            return tuple(messages)
        for message in messages:
            self.on_message(message)
        return ()

    def select(self, query: str, position: Position | None, what: str = "the query") -> Selection:
        """Return the rows of a query, with its parameters bound; raise SqlError, with its place, if it is wrong."""
        return Selection.of(self.engine, self.bound(query, position), position, what)

    def select_for(self, model: StoredModel, query: str, position: Position | None) -> Selection:
        """Return the rows of a query as the model reads them."""
        rows = self.select(query, position)
        return rows.as_it_is() if model.record.own_input else rows

    def kept(self, selections: Sequence[Selection]) -> list[Selection]:
        """Evaluate these queries now, once and at one moment; return selections of their rows."""
        return self.cleanup.enter_context(snapshots(selections))

    def bound(self, query: str, position: Position | None) -> str:
        """Return the query with its parameters bound; raise SqlError, with its place, for one without a value."""
        try:
            return bind(query, self.params, self.engine)
        except SqlError as error:
            raise error.at(position) from None

    def used_parameters(self, *texts: str) -> dict[str, Any]:
        """Return the parameters to which these statements or queries refer."""
        dialect = dialect_of(self.engine.dialect)
        names = {place.name for text in texts for place in placeholders(text, dialect)}
        return {name: value for name, value in self.params.items() if name in names}

    def asker(self, model: StoredModel, folder: str, options: Mapping[str, Any]) -> Asker:
        """Return an `Asker`, which runs the statement's jobs on a model."""
        return Asker(model, folder, options, self.on_job)
