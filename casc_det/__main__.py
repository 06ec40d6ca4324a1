"""`python -m casc_det` is the command line."""

import sys

from casc_det.cli import main

if __name__ == "__main__":
    sys.exit(main())
