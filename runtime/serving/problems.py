"""What a client is told when its request cannot be answered."""

from __future__ import annotations

from enum import Enum

from elasticdl_nb.runtime.errors import ElasticDLError


class Problem(Enum):
    """The kinds of problems: gRPC's code, by its name and number, and HTTP's."""

    INVALID = ("INVALID_ARGUMENT", 3, 400)
    UNKNOWN = ("NOT_FOUND", 5, 404)
    TOO_LATE = ("DEADLINE_EXCEEDED", 4, 504)
    TOO_MANY = ("RESOURCE_EXHAUSTED", 8, 429)
    NOT_READY = ("UNAVAILABLE", 14, 503)
    FAILED = ("INTERNAL", 13, 500)

    @property
    def grpc(self) -> str:
        """The name of gRPC's status code."""
        return self.value[0]

    @property
    def http(self) -> int:
        """HTTP's status code."""
        return self.value[2]


class Refused(ElasticDLError):
    """A request that is not answered; the server is all right."""

    def __init__(self, problem: Problem, message: str) -> None:
        super().__init__(message)
        self.problem = problem


def invalid(message: str) -> Refused:
    """Return what a client is told that sent something else than the model takes."""
    return Refused(Problem.INVALID, message)
