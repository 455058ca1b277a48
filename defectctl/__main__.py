"""`python -m defectctl` is the console script `defectctl`."""

import sys

from defectctl.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
