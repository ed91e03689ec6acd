"""How much clients may make a server hold, and for how long."""

from __future__ import annotations

HEAD_BYTES = 16 << 10
"""The largest head of a request."""

READ_BYTES = 16 << 10
"""How much is read of a connection at a time. With what is read already, it holds four times as much at most."""

MOST_CONNECTIONS = 1024
"""HTTP connections at once; further ones are closed."""

MOST_STRANGERS = 128
"""Connections at once that have not sent the head of a request, or not the token; one more, and the first has to go."""

STRANGERS_SECONDS = 5.0
"""How long these may stay."""

IDLE_SECONDS = 75.0
"""How long a connection may stay without a request."""

BODY_SECONDS = 60.0
"""How long a request may take to arrive, and its answer to be read."""

LINGERING_SECONDS = 2.0
LINGERING_BYTES = 64 << 20
"""How long, and how much, is read and forgotten of a request that was refused before all of it had come."""
