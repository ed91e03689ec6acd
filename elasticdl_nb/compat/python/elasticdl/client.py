"""`python -m elasticdl.python.elasticdl.client train …`: the `elasticdl` command."""

import sys

from elasticdl_nb.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
