"""Talking to a master, and understanding what it says: its clients' and its workers' side of the control plane.

`masterclient` watches and cancels jobs, `masterstream` is the connection that workers and parameter servers keep to
their master, `status` reads and words the job status. Decisions about a job belong in `runtime.master`, pictures of it
in `elasticdl_nb.widgets`.
"""
