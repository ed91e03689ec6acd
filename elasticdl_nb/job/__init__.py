"""A job from its start to its report, as its owner sees it.

`starting` is the one way in which every caller starts a job, and `display` what people see of it. On the way, `naming`
names the job, `preparing` makes its folder from what was given, and `launch` starts its supervisor here, or
`clusterjobs` submits it to Kubernetes, where `inpod` receives it. `handle` is `Job`, `listing` the list of jobs;
`terminal` and `report` turn them into text. What jobs are made of belongs in `elasticdl_nb.given`, what runs them in
`elasticdl_nb.runtime`.
"""

from elasticdl_nb.job.handle import Job, attach
from elasticdl_nb.job.listing import jobs

__all__ = ["Job", "attach", "jobs"]
