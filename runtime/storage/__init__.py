"""What a job keeps on disk: its folder, locks, checkpoint directories, and the publishing of finished output.

`jobfolder` knows where a job's files are, `locks` which process holds which file, `checkpoints` which directories are
complete, `ownership` which job a directory of checkpoints belongs to, `pauses` when to try again what could not be
written, `workfolder` where a model finds its files, `publish` how output appears all at once, `usedfiles` which files
a model has learnt from, and `longlogs` how logs stay within bounds. The contents of checkpoints and trained models
belong in `runtime.parameters` and `runtime.model`. Nothing here opens a connection.
"""
