"""A job from its start to its report, as its owner sees it.

Every caller starts jobs through `starting`, and `display` is what users see of a job. On the way, `naming` names the
job and `preparing` makes its folder from the given options. Then `launch` starts its supervisor on this machine, or
`clusterjobs` submits it to Kubernetes, where `inpod` receives it. `handle` is `Job`, and `listing` the list of jobs;
`terminal` and `report` turn them into text. `frontend` tells notebooks in use from programs. What jobs are made of
belongs in `elasticdl_nb.given`, and what runs them in `elasticdl_nb.runtime`.
"""

from elasticdl_nb.job.handle import Job, attach
from elasticdl_nb.job.listing import jobs

__all__ = ["Job", "attach", "jobs"]
