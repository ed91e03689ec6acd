"""From pressing Run to a job that runs: what is started, and shown, before it is known whether there will be a job."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from IPython.display import display

from elasticdl_nb.images import ImageStatus, listening
from elasticdl_nb.images.showing import print_lines
from elasticdl_nb.job import launch
from elasticdl_nb.job.prepare import submit
from elasticdl_nb.magics.running import say
from elasticdl_nb.runtime.platform.early import EarlyProcess
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobKind
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.widgets.image import ImageView


class Preparation:
    """A context: the job's processes begin to import what they need, and a live notebook shows how far things are.

    When the block fails there is no job: the processes leave, and the picture disappears.
    """

    def __init__(self, kind: JobKind, *, live: bool) -> None:
        self._kind, self._live = kind, live
        self._early: EarlyProcess | None = None
        self._image: ImageView | None = None
        self.place: Any = None
        """The display handle of the picture, which the job's view replaces; None where nothing is shown."""

    def __enter__(self) -> Self:
        self._early = launch.begin()
        self._tell("running the cell")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._early is not None:
            launch.dismiss(self._early)
        if error is not None and self.place is not None:
            self.place.update({}, raw=True)

    def submit(self, given: Mapping[str, Any]) -> JobFolder:
        """Start the job that these options describe. Raises what `prepare.submit` raises."""
        with listening(self._show_image if self._live else print_lines(say)):
            folder = submit(self._kind, given, self._early, self._tell)
        self._early = None
        return folder

    def _show_image(self, status: ImageStatus) -> None:
        if self._image is None:
            self._image = ImageView(self.place)
        self._image.show(status)

    def _tell(self, doing: str) -> None:
        if not self._live:
            return
        from elasticdl_nb.widgets.render import mimebundle

        picture = mimebundle(pb.JobStatus(name=f"{self._kind} job", detail=doing, remaining_seconds=-1))
        if self.place is None:
            self.place = display(picture, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self.place.update(picture, raw=True)
