"""Talking to a master: the clients' and the workers' side of the control plane.

`masterclient` watches and cancels jobs, `masterstream` is the connection that workers and parameter servers keep to
their master, `guarding` keeps the master's supervisor going, and `status` reads a job's status and puts it into words.
Decisions about a job belong in `runtime.master`, pictures of it in `elasticdl_nb.widgets`.
"""
