"""A worker process: takes tasks from the master, reads their records, and trains, evaluates or predicts with them.

`worker` decides what to do with each kind of task. `session` talks to the master, and `part` describes the process's
place in its job; neither needs TensorFlow, unlike everything else here. `feed` and `sources` turn tasks into batches,
and `evaluator`, `predictor` (with `predictcallbacks`) and `finish` use them. `trying` makes a model before there is a
job, `unsuitable` finds what in a batch a model cannot take, and `warned` passes on what Keras warns about. How models
are trained belongs in `training`; nothing outside it knows which strategy the job has.
"""
