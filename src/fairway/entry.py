"""Where the ``fairway`` command begins: so early that Ctrl-C shows no traceback, not even while Python loads."""

from __future__ import annotations

import sys


def main() -> None:
    """Load the command line and run it."""
    try:
        from fairway.cli.main import main as run
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    run()
