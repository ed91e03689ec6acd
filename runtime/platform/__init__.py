"""Where a job's processes run: one small interface and its implementations.

A platform starts, ends and watches instances. It makes no decisions. `outofmemory` finds out whether the system has
killed processes because memory ran out, `gpus` which GPUs there are and who gets them.
"""
