"""Python runs this when a process starts, for `make test` has this folder on the path of all its processes."""

import reached

reached.start()
