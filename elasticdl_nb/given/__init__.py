"""What a call was given, and whether it is valid: models, data, zoos and paths, before there is a job.

`objects` names classes and functions given as objects, `frames` writes data frames, and `zoo` fetches model zoos.
`paths` and `clusterpaths` make paths mean the same to a job's processes, `readerparams` finds the parameters of data
readers, and `checks` opens what was named to see that it exists. Starting the job belongs in `elasticdl_nb.job`.
"""
