"""``python -m hesscope`` is the command ``hesscope``."""

import sys

from hesscope.cli import main

if __name__ == "__main__":
    sys.exit(main())
