"""A parameter server's socket: one loop in one thread, which owns the store.

The loop handles one request at a time. Between requests it runs the calls posted from other threads, and one step of
each background job (writing a snapshot).
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from elasticdl_nb.runtime.errors import DataError, ElasticDLError, ModelError
from elasticdl_nb.runtime.parameters.generations import StoreService
from elasticdl_nb.runtime.protocol.network import Network
from elasticdl_nb.runtime.ps.limits import UNANNOUNCED, ModelSize, refuse
from elasticdl_nb.runtime.ps.requests import Answers
from elasticdl_nb.runtime.ps.security import Gatekeeper, is_encrypted, leave, listen, widen
from elasticdl_nb.runtime.ps.segment import LEAST, OpenSegments
from elasticdl_nb.runtime.ps.wire import (
    LIMITS,
    Buffer,
    Kind,
    Limits,
    Message,
    Shared,
    TooLarge,
    WireError,
    copied,
    cut,
    decode,
    encode,
    extent,
    frame_key,
    joined,
    place,
)

logger = logging.getLogger(__name__)

LOST = "generation"
_ERRORS = {DataError: "data", ModelError: "model"}
_LOG_INTERVAL = 10.0
_WAIT = 2


class ParameterServer:
    """Serves a store, at a place of its own choice; `address` is where: see `security`.

    `folder` is for the socket's file, if it is one. `records` is the size of the job's batches. Only once a worker has
    announced the model's size does the server take messages larger than `limits`, and then only as large as the model
    and such a batch need.
    """

    def __init__(
        self,
        service: StoreService,
        token: str,
        network: Network | None = None,
        limits: Limits = UNANNOUNCED,
        folder: Path | None = None,
        records: int = 1024,
    ) -> None:
        self.service = service
        self._segments = OpenSegments()
        self._answers = Answers(service, self._announced, self._segments.open)
        self._records = records
        self._key = frame_key(token)
        self._limits = limits
        self._posted: deque[Callable[[], None]] = deque()
        self._background: list[Iterator[bool]] = []
        self._running = True
        self._dropped = 0
        self._logged_at = -_LOG_INTERVAL
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        Gatekeeper(self._context, token)
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, 1000)
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 20_000)
        self.address = self._wide = listen(self._socket, token, network or Network(), limits.frame, folder)
        self._in_pieces = is_encrypted(self.address)

    # ------------------------------------------------------------ from any thread

    def post(self, action: Callable[[], None]) -> None:
        """Make the loop call something between two requests."""
        self._posted.append(action)
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._wake_write, b"\0")

    def stop(self) -> None:
        """End the loop."""
        self.post(self._stop)

    def _stop(self) -> None:
        self._running = False

    def _announced(self, size: ModelSize) -> dict[str, Any]:
        """Make room for the messages of a model of this size; answer where they may go, and how large they may be."""
        needed = size.limits(self._records)
        if needed.message > self._limits.message:
            self._wide, self._limits = widen(self._socket, self.address, needed.frame), needed
        return {"address": self._wide, **asdict(self._limits)}

    # ------------------------------------------------------------ the loop

    def run_between(self, steps: Iterator[bool]) -> None:
        """Take the steps of an iterator one by one between requests; to be called from a posted call.

        A step that is False had to wait for something.
        """
        self._background.append(steps)

    def run(self) -> None:
        """Serve until `stop`."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._wake_read, zmq.POLLIN)
        pause: int | None = None
        try:
            while self._running:
                ready = dict(poller.poll(pause))
                if self._wake_read in ready:
                    os.read(self._wake_read, 4096)
                    while self._posted:
                        self._posted.popleft()()
                if self._socket in ready:
                    self._serve()
                pause = self._advance()
        finally:
            self._socket.close()
            self._segments.close()
            self._context.term()
            leave(self.address)
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _advance(self) -> int | None:
        """Take one step of everything in the background; return how many milliseconds to wait for requests then."""
        taken = [(steps, next(steps, None)) for steps in self._background]
        self._background = [steps for steps, step in taken if step is not None]
        if not self._background:
            return None
        return 0 if any(step for _, step in taken) else _WAIT

    def _serve(self) -> None:
        received = self._receive()
        if received is None:
            return
        peer, frames = received
        try:
            message = decode(joined(frames) if self._in_pieces else frames, self._key, self._limits, self._memory_of)
        except TooLarge as error:
            self._drop(error)
            reply = self._error(error.request, "data", str(refuse(error.size, self._limits)))
        except WireError as error:
            self._drop(error)
            return
        else:
            if message.shared is not None and self.service.keeps_pushes:  # longer than the worker keeps the memory
                message = replace(message, arrays=copied(message.arrays))
            reply = self._placed(self._answer(message), message.shared)
        answer = encode(reply, self._key)
        with contextlib.suppress(zmq.ZMQError):  # the peer has gone
            self._socket.send_multipart([peer, *(cut(answer) if self._in_pieces else answer)], zmq.NOBLOCK, copy=False)

    def _memory_of(self, _request: int, shared: Shared) -> NDArray[np.uint8] | None:
        return None if shared.start is None else self._segments.bytes_from(shared.segment, shared.start)

    def _placed(self, reply: Message, asked: Shared | None) -> Message:
        """Return a reply whose arrays are in the memory that the worker has set aside for them, if it has.

        Otherwise they are sent later than the next step may be made, which changes the store's own.
        """
        if asked is not None and LEAST <= extent(reply.arrays) <= asked.size:
            memory = self._segments.bytes_from(asked.segment, asked.room)
            if memory is not None and len(memory) >= asked.size:
                place(reply.arrays, memory)
                return replace(reply, shared=Shared(asked.segment, asked.room))
        own = [piece if isinstance(piece, np.ndarray) else copied([piece])[0] for piece in reply.arrays]
        return replace(reply, arrays=own)

    def _receive(self) -> tuple[bytes, list[Buffer]] | None:
        """Return a message, or None if there is no readable one."""
        frames: list[zmq.Frame] = []
        more, count = True, 0
        try:
            while more:
                frame = self._socket.recv(zmq.NOBLOCK, copy=False)
                more, count = frame.more, count + 1
                if count <= LIMITS.frames + 1:
                    frames.append(frame)
        except zmq.Again:
            return None
        if count > len(frames):
            self._drop(WireError(f"{count} frames"))
            return None
        return frames[0].bytes, [frame.buffer for frame in frames[1:]]

    def _answer(self, message: Message) -> Message:
        generation = self.service.generation
        try:
            if message.kind != Kind.STATUS and message.generation != generation:
                other = f"generation {generation} is current, not {message.generation}"
                return self._error(message.request, LOST, other)
            if self.service.declared:
                self.service.store.now = time.time()
            meta, arrays = self._answers.answer(message)
        except ElasticDLError as error:
            return self._error(message.request, _ERRORS.get(type(error), "job"), str(error))
        except WireError as error:
            self._drop(error)
            return self._error(message.request, "job", f"a parameter server does not understand a request: {error}")
        except Exception as error:  # a defect that one request reveals must not end the server of all workers
            logger.exception("request %s failed", message.kind.name)
            return self._error(message.request, "job", f"parameter server {self.service.server} failed: {error!r}")
        return Message(Kind.REPLY, generation, message.request, meta, arrays)

    def _error(self, request: int, code: str, text: str) -> Message:
        return Message(Kind.ERROR, self.service.generation, request, {"code": code, "message": text})

    def _drop(self, error: WireError) -> None:
        self._dropped += 1
        now = time.monotonic()
        if now - self._logged_at >= _LOG_INTERVAL:
            self._logged_at = now
            logger.warning("dropped a message: %s (%d so far)", error, self._dropped)
