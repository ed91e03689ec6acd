"""What a call was given, and whether it is valid: models, data, zoos and paths, before there is a job.

`namedobjects` turns classes and functions into names. `frames` writes data frames, `tables` what a label needs of them
(`earlier`: of a training that goes on), `arraydata` what `fit` takes (`datakinds` and `arrays` say what that is,
`arrayfiles` writes it), `fed` is what a process goes on writing. `zoosource` fetches model zoos (`gitzoo`: those in
Git), `paths` and `clusterpaths` make paths mean the same to a job's processes, `readerparams` reads the parameters of
data readers, `checks` opens what was named to see that it is there, `trial` makes a model in another process, `sharing`
refuses places that another running job writes to. Starting it belongs in `elasticdl_nb.job`.
"""
