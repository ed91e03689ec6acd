"""Counters of a server, in Prometheus' text format."""

from __future__ import annotations

import bisect
import threading
from collections import Counter

_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_PREFIX = "elasticdl_serving"


class Metrics:
    """Requests by protocol, model and outcome, their latencies, batches, and the version that is served."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._latencies = [0] * (len(_BOUNDS) + 1)
        self._seconds = 0.0
        self._batches, self._records, self._swaps, self._failed_loads = 0, 0, 0, 0
        self.version = 0

    def request(self, protocol: str, model: str, outcome: str, seconds: float) -> None:
        """Count a request; `outcome` is OK or the name of a gRPC status."""
        with self._lock:
            self._requests[protocol, model, outcome] += 1
            self._latencies[bisect.bisect_left(_BOUNDS, seconds)] += 1
            self._seconds += seconds

    def batch(self, records: int) -> None:
        """Count a batch of so many records."""
        with self._lock:
            self._batches += 1
            self._records += records

    def swapped(self, version: int) -> None:
        """Note the version that is served from now on."""
        with self._lock:
            self._swaps += 1
            self.version = version

    def load_failed(self) -> None:
        """Count a version that could not be loaded."""
        with self._lock:
            self._failed_loads += 1

    def text(self) -> str:
        """Return everything in Prometheus' format."""
        with self._lock:
            lines = [_head("requests_total", "counter", "Requests, by protocol, model and outcome.")]
            lines += [
                f'{_PREFIX}_requests_total{{protocol="{protocol}",model="{_escaped(model)}",outcome="{end}"}} {count}'
                for (protocol, model, end), count in sorted(self._requests.items())
            ]
            lines.append(_head("request_seconds", "histogram", "How long requests took."))
            total = 0
            for bound, count in zip((*_BOUNDS, "+Inf"), self._latencies, strict=True):
                total += count
                lines.append(f'{_PREFIX}_request_seconds_bucket{{le="{bound}"}} {total}')
            lines += [f"{_PREFIX}_request_seconds_sum {self._seconds}", f"{_PREFIX}_request_seconds_count {total}"]
            for name, kind, text, value in (
                ("batches_total", "counter", "Batches that the model computed.", self._batches),
                ("records_total", "counter", "Records in these batches.", self._records),
                ("versions_loaded_total", "counter", "Versions that were loaded.", self._swaps),
                ("versions_failed_total", "counter", "Versions that could not be loaded.", self._failed_loads),
                ("version", "gauge", "The version that is served.", self.version),
            ):
                lines += [_head(name, kind, text), f"{_PREFIX}_{name} {value}"]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, text: str) -> str:
    return f"# HELP {_PREFIX}_{name} {text}\n# TYPE {_PREFIX}_{name} {kind}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
