"""A worker process: takes tasks from the master, reads their records, and trains, evaluates or predicts with them.

`worker` says what is done with each kind of task. `session` talks to the master, and `part` says what the process is in
its job; both need no TensorFlow, as everything else here does. `feed` and `sources` turn tasks into batches,
`evaluator`, `predictor` and `finish` use them. How models are trained belongs in `training`; nothing outside of it
knows which strategy the job has.
"""
