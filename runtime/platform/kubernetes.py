"""A Kubernetes cluster: an instance is a pod, which belongs to the master's batch Job and is deleted with it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from elasticdl_nb.runtime.errors import ClusterError
from elasticdl_nb.runtime.platform.base import Exited, InstanceId, News, Stuck
from elasticdl_nb.runtime.platform.kubeapi import Change, Cluster, Listing, Object
from elasticdl_nb.runtime.platform.manifests import instance_pod, owned, pod_name, selector
from elasticdl_nb.runtime.platform.podtracker import PodTracker, instance_of
from elasticdl_nb.runtime.spec import JobSpec

KILL_SECONDS = 1
"""Seconds to end by itself, for a pod that should end at once; with 0 the cluster would not wait for its end."""

CLOSE_SECONDS = 10.0
"""Seconds after which pods that are still there, because their node is slow or does not answer, are force-deleted."""

RETRY_SECONDS = 1.0
REFUSED_SECONDS = 10.0
"""Seconds between attempts to create a pod that the cluster currently does not allow, for instance by a quota."""

Answer = TypeVar("Answer")
logger = logging.getLogger(__name__)


class KubernetesPlatform:
    """The pods of one job; `change` may alter a pod's manifest before it is created."""

    def __init__(self, cluster: Cluster, spec: JobSpec, job: Object, change: Callable[[Object], Object]) -> None:
        self._cluster, self._spec, self._job, self._change = cluster, spec, job, change
        self._tracker = PodTracker()
        self._events: asyncio.Queue[News] = asyncio.Queue()
        self._stopped = threading.Event()
        self._closing = False
        self._ticker: asyncio.Task[None] | None = None

    # ------------------------------------------------------------ Platform

    async def start(self, instance: InstanceId, command: Sequence[str], envs: dict[str, str]) -> None:
        """Create an instance's pod, however long the cluster takes to allow it."""
        self._watch()
        self._tracker.expect(instance)
        try:
            manifest = instance_pod(self._spec, instance, command, envs)
            pod = owned(self._change(manifest), self._job)
        except Exception as error:  # the user's code may do anything
            self._report([Stuck(instance, f"cluster_spec failed: {error!r}", hopeless=True)])
            return
        while instance in self._tracker and not self._closing:
            try:
                await asyncio.to_thread(self._cluster.create, pod)
            except ClusterError as error:
                if error.status != 409:  # which means that it was created, but the answer got lost
                    await self._not_made(instance, error)
                    continue
            self._tracker.made(instance, time.monotonic())
            if instance not in self._tracker or self._closing:  # it has been killed meanwhile
                await self._delete(instance, KILL_SECONDS)
            return

    def keep_ready(self, module: str, envs: dict[str, str], known: str) -> None:
        """See `Platform`: a pod that waits would keep others from its place."""

    async def adopt(self) -> list[InstanceId]:
        """Take over the pods that an earlier master created and that have not ended; return their instances."""
        pods = await self._patiently(lambda: self._cluster.list("Pod", selector(self._spec.job_name)))
        living = []
        for pod in pods:
            instance = instance_of(pod)
            if instance is None:
                continue
            if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
                await self._delete(instance)
            else:
                self._tracker.expect(instance)
                self._tracker.made(instance, time.monotonic())
                living.append(instance)
        self._watch()
        return living

    async def kill(self, instance: InstanceId) -> None:
        """Delete the instance's pod, or give up creating it."""
        self._report(self._tracker.given_up(instance))
        await self._delete(instance, KILL_SECONDS)

    async def events(self) -> AsyncIterator[News]:
        """Every pod's start and end, and what keeps one from running."""
        self._watch()
        while True:
            event = await self._events.get()
            if isinstance(event, Exited):
                await self._delete(event.instance)
            yield event

    async def close(self) -> None:
        """Delete the pods that are left and wait until they are gone."""
        self._closing = True
        await asyncio.gather(*(self._delete(instance, KILL_SECONDS) for instance in self._tracker.instances()))
        deadline = time.monotonic() + CLOSE_SECONDS
        while self._tracker.instances() and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        await asyncio.gather(*(self._delete(instance, 0) for instance in self._tracker.instances()))
        await self._bury()
        self._stopped.set()
        if self._ticker is not None:
            self._ticker.cancel()

    async def _bury(self) -> None:
        """Delete pods that have ended and whose end has been reported."""
        with contextlib.suppress(ClusterError):
            for pod in await asyncio.to_thread(self._cluster.list, "Pod", selector(self._spec.job_name)):
                instance = instance_of(pod)
                if instance is not None:
                    await self._delete(instance)

    # ------------------------------------------------------------ requests

    async def _not_made(self, instance: InstanceId, error: ClusterError) -> None:
        if error.may_pass:
            logger.warning("%s", error)
            await asyncio.sleep(RETRY_SECONDS)
            return
        # A quota that is used up may have room again later.
        hopeless = not (error.status == 403 and "quota" in str(error))
        self._report(self._tracker.refused(instance, str(error), hopeless))
        await asyncio.sleep(REFUSED_SECONDS)

    async def _delete(self, instance: InstanceId, grace: int | None = None) -> None:
        name = pod_name(self._spec.job_name, instance)
        await self._patiently(lambda: self._cluster.delete("Pod", name, grace))

    async def _patiently(self, call: Callable[[], Answer]) -> Answer:
        """Repeat the call until the cluster can be reached."""
        while True:
            try:
                return await asyncio.to_thread(call)
            except ClusterError as error:
                if not error.may_pass:
                    raise
                logger.warning("%s", error)
                await asyncio.sleep(RETRY_SECONDS)

    # ------------------------------------------------------------ what happens to pods

    def _watch(self) -> None:
        """Begin to watch, in a thread, unless that was already done."""
        if self._ticker is not None:
            return
        loop = asyncio.get_running_loop()
        self._ticker = loop.create_task(self._tick())
        threading.Thread(target=self._follow, args=(loop,), name="pod-watch", daemon=True).start()

    def _follow(self, loop: asyncio.AbstractEventLoop) -> None:
        for news in self._cluster.watch("Pod", selector(self._spec.job_name), self._stopped):
            events: list[Object] = []
            if isinstance(news, Change) and (news.gone or news.item["metadata"].get("deletionTimestamp")):
                events = self._said_of(news.item)
            with contextlib.suppress(RuntimeError):  # the loop has ended, as the job has
                loop.call_soon_threadsafe(self._heard, news, events)

    def _said_of(self, pod: Object) -> list[Object]:
        """Return the cluster's events about a pod that is being deleted; they say why."""
        try:
            return self._cluster.list("Event", fields=f"involvedObject.uid={pod['metadata']['uid']}")
        except ClusterError as error:
            logger.warning("%s", error)
            return []

    def _heard(self, news: Listing | Change | ClusterError, events: list[Object]) -> None:
        now = time.monotonic()
        if isinstance(news, ClusterError):
            logger.warning("%s", news)
        elif isinstance(news, Listing):
            self._report(self._tracker.listed(news.items, news.asked_at, now))
        else:
            self._report(self._tracker.observed(news.item, now, gone=news.gone, events=events))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._report(self._tracker.tick(time.monotonic()))

    def _report(self, events: Sequence[News]) -> None:
        for event in events:
            self._events.put_nowait(event)
