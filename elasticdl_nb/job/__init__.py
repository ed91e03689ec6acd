"""A job from its start to its report, as its owner sees it.

`prepare` makes a job's folder from what was given, `launch` starts its supervisor here and `clusterjobs` submits it to
Kubernetes, where `inpod` receives it; `handle` is `Job`, `listing` the list of jobs, `terminal` and `report` put them
into text. What jobs are made of belongs in `elasticdl_nb.given`, what runs them in `elasticdl_nb.runtime`.
"""

from elasticdl_nb.job.handle import Job, attach
from elasticdl_nb.job.listing import jobs

__all__ = ["Job", "attach", "jobs"]
