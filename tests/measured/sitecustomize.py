"""Python runs this when a process starts, as `make test` puts this folder on the path of all its processes."""

import reached

reached.start()
