"""``python -m porter`` is the ``porter`` command."""

from __future__ import annotations

import sys

from porter.cli import main

if __name__ == "__main__":
    sys.exit(main())
