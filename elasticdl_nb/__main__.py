"""`python -m elasticdl_nb`: the `elasticdl` command."""

import sys

from elasticdl_nb.cli import main

if __name__ == "__main__":
    sys.exit(main())
