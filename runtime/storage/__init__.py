"""What a job keeps on disk: its folder, locks, checkpoints' directories, and the publishing of finished output.

`jobfolder` knows where everything of a job lies, `locks` who holds what, `checkpoints` which directories are complete,
`publish` how output appears all at once. What stands inside a checkpoint or a trained model belongs to
`runtime.parameters` and `runtime.model`; nothing here opens a connection.
"""
