"""An extension of the Jupyter server: pages of notebooks follow jobs through it, with buttons that act at once.

Notebooks that are saved through it have the latest pictures of their jobs. It needs no kernel, so a kernel that is
busy, was restarted or has ended changes nothing. Whoever may use the server's kernels, and nobody else, can see and end
the jobs of the server's user. Jupyter loads it by the file `etc/jupyter/jupyter_server_config.d/elasticdl_nb.json`,
which the package installs.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import logging
import time
from collections.abc import Callable
from typing import Any

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado import web
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from elasticdl_nb.job import Job, attach
from elasticdl_nb.runtime.errors import ElasticDLError, JobNotFound
from elasticdl_nb.runtime.protocol.master_pb2 import JobStatus
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.widgets.conversation import (
    LOG_LINES,
    Conversation,
    Logs,
    NoLogs,
    Request,
    Scale,
    Scaled,
    Stop,
    log_pane,
    understood,
)
from elasticdl_nb.widgets.following import Follower
from elasticdl_nb.widgets.format import short
from elasticdl_nb.widgets.liveoutput import module
from elasticdl_nb.widgets.savednotebook import refresh

UNKNOWN_JOB = 4404
"""The code that a connection is closed with if the server does not know the job."""

_FRAME_SECONDS = 0.5
_LOG_SECONDS = 2.0
_TROUBLE_SECONDS = 5.0
_RESOURCE = "kernels"
logger = logging.getLogger(__name__)


class ModuleHandler(JupyterHandler):
    """Serves `live.js`, with what it needs."""

    @web.authenticated
    async def get(self) -> None:
        """Return the module."""
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.set_header("Cache-Control", "no-cache")
        await self.finish(module())


class LiveHandler(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """The conversation with one view of one job; see `conversation`."""

    auth_resource = _RESOURCE

    def set_default_headers(self) -> None:
        """Set none: those of pages mean nothing here."""

    def get_compression_options(self) -> dict[str, Any]:
        """Compress: pictures are long and alike."""
        return {}

    @ws_authenticated
    async def get(self, name: str) -> None:
        """Begin the conversation, if the user may use kernels."""
        if not await ensure_async(self.authorizer.is_authorized(self, self.current_user, "execute", _RESOURCE)):
            raise web.HTTPError(403)
        await super().get(name)

    def open(self, name: str) -> None:
        """Begin to tell the page about the job."""
        super().open()
        self._ended = False
        self._wake = asyncio.Event()
        self._conversation = Conversation()
        self._logs: Logs | None = None
        self._logs_due = 0.0
        self._job: Job | None = None
        self._tasks = {asyncio.ensure_future(self._talk(name, self.get_query_argument("identity", "")))}

    async def _talk(self, name: str, identity: str) -> None:
        try:
            self._job = job = await asyncio.to_thread(_found, name, identity)
            self._tell(self._conversation.beginning())
            async with _following(job) as follower:
                await self._follow(job, follower)
        except JobNotFound:
            self.close(UNKNOWN_JOB, "no such job")
        except WebSocketClosedError:
            pass
        except Exception:  # the page tries again
            logger.exception("the view of job %s failed", name)
            self.close(1011)

    async def _follow(self, job: Job, follower: Follower) -> None:
        while not self._ended:
            follower.mark_watched()
            news = self._conversation.news(follower.latest, time.monotonic())
            if news.get("over"):
                news.update(await self._log_news(job))
            if follower.trouble:
                news["note"] = follower.trouble
            if news:
                self._tell(news)
            if news.get("over"):
                self.close(1000)
                return
            if follower.trouble:
                await asyncio.sleep(_TROUBLE_SECONDS)
                self.close(1011)  # and the page asks again
                return
            if self._logs is not None and time.monotonic() >= self._logs_due:
                self._tell(await self._log_news(job))
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _FRAME_SECONDS)

    async def _log_news(self, job: Job) -> dict[str, str]:
        wanted = self._logs
        if wanted is None:
            return {}
        self._logs_due = time.monotonic() + _LOG_SECONDS
        try:
            text = await asyncio.to_thread(job.logs, wanted.role, wanted.index, LOG_LINES)
        except (ElasticDLError, OSError) as error:
            text = str(error)
        return {"logs": log_pane(text)}

    def _tell(self, news: dict[str, Any]) -> None:
        if not self._ended:
            self.write_message(json.dumps(news))

    # ------------------------------------------------------------ requests

    def on_message(self, message: str | bytes) -> None:
        """Do what the page asks for."""
        try:
            request = understood(json.loads(message))
        except ValueError:
            self.close(1003, "not understood")
            return
        task = asyncio.ensure_future(self._do(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do(self, request: Request) -> None:
        job, conversation = self._job, self._conversation
        match request:
            case Logs():
                self._logs, self._logs_due = request, 0.0
            case Scaled(logarithmic):
                conversation.use_scale(logarithmic)
            case NoLogs():
                self._logs = None
            case Stop() if job is not None:
                conversation.stopping = True
                self._wake.set()
                conversation.stopping = await self._asked("Stop", lambda: job.request_cancel("cancelled by its user"))
            case Scale(workers) if job is not None:
                conversation.scaling += 1
                await self._asked("Scale", lambda: job.scale(workers))
                conversation.scaling -= 1
        self._wake.set()

    async def _asked(self, name: str, request: Callable[[], object]) -> bool:
        """Make a request and return whether it succeeded; tell the page the reason if it did not."""
        try:
            await asyncio.to_thread(request)
        except (ElasticDLError, OSError) as error:
            self._tell({"note": f"{name}: {short(str(error), 300)}"})
            return False
        self._tell({"note": ""})
        return True

    def on_close(self) -> None:
        """End the conversation."""
        self._ended = True
        self._wake.set()
        super().on_close()


def _found(name: str, identity: str) -> Job:
    """Return the job of that name and identity, which may have made room for another of its name since."""
    for folder in [JobFolder.find(name), *JobFolder.all()]:
        if folder.name.partition("~")[0] == name and (not identity or folder.identity == identity):
            return attach(folder.name)
    raise JobNotFound(f"no job named {name!r}")


_followers: dict[str, tuple[Follower, int]] = {}


@contextlib.asynccontextmanager
async def _following(job: Job) -> Any:
    """Share one follower among all pages that show the job."""
    key = str(job.folder.path)
    if key not in _followers:
        follower = await asyncio.to_thread(Follower, job, job.folder.mark_watched)
        _followers.setdefault(key, (follower, 0))
        if _followers[key][0] is not follower:
            follower.leave()
    follower, number = _followers[key]
    _followers[key] = (follower, number + 1)
    try:
        yield follower
    finally:
        follower, number = _followers[key]
        _followers[key] = (follower, number - 1)
        if number == 1:
            follower.leave()
            del _followers[key]


# ------------------------------------------------------------ saving notebooks

_SAVING_SECONDS = 2.0
_asking = concurrent.futures.ThreadPoolExecutor(2, "elasticdl-saving")


def _before_saving(model: dict[str, Any], **_: Any) -> None:
    """Bring the pictures in a notebook up to date: the hook of the server's contents manager.

    Jobs whose masters do not answer in time keep their pictures, as saving must not wait for them.
    """
    if model.get("type") != "notebook" or model.get("content") is None:
        return
    deadline = time.monotonic() + _SAVING_SECONDS
    asked: dict[tuple[str, str], concurrent.futures.Future[JobStatus | None]] = {}

    def status_of(name: str, identity: str) -> JobStatus | None:
        if (name, identity) not in asked:
            asked[name, identity] = _asking.submit(_status, name, identity)
        try:
            return asked[name, identity].result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            return None

    refresh(model["content"], status_of)


def _status(name: str, identity: str) -> JobStatus | None:
    try:
        return _found(name, identity).status()
    except (ElasticDLError, OSError):
        return None


# ------------------------------------------------------------ what Jupyter looks for


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(app: Any) -> None:
    base = app.web_app.settings["base_url"].rstrip("/")
    routes = [
        (f"{base}/elasticdl/live.js", ModuleHandler),
        (rf"{base}/elasticdl/jobs/([\w.~-]+)/live", LiveHandler),
    ]
    app.web_app.add_handlers(".*$", routes)
    app.contents_manager.register_pre_save_hook(_before_saving)
